"""A registered detector in use: it follows a stream from the command line, and its threshold is recomputed."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import warm_python

import gridcast
from gridcast import cli
from gridcast.api import detection
from gridcast.cli import simulated_plant
from gridcast.monitoring.stream.ledger import Ledger
from gridcast.reporting import detection_page
from gridcast.runtime.errors import DataError
from gridcast.runtime.model_files import SETTINGS_FILE
from gridcast.sweep import records
from gridcast.tracking import mlflow_runs, model_loading, promotion, registry, run_recording
from gridcast.tracking.store import Store, open_store
from small_experiments import readings, watched, write_experiment
from stream_process import put, rows
from tracking_servers import free_port
from untrained_models import untrained_detector_files

pytestmark = [pytest.mark.usefixtures("jax_backend"), pytest.mark.xdist_group("anomaly")]

NORMAL = readings(2400, seed=4)


@dataclass(frozen=True)
class Site:
    """A store with a registered detector `name`, whose champion, version 1, knows `readings()`."""

    name: str
    store: Store

    @property
    def aliases(self) -> dict[str, str]:
        return {
            alias: str(number) for alias, number in self.store.client.get_registered_model(self.name).aliases.items()
        }

    def threshold(self, alias: str, wait: int | None = 3) -> float:
        """The threshold of scores that are given `wait` steps later; 3 is what a follower of it waits."""
        found = model_loading.find_model(f"models:/{self.name}@{alias}", self.store.uri)
        settings = json.loads(model_loading.download_files(found.uri)[SETTINGS_FILE])["detector"]
        by_wait = {one["wait"]: one["threshold"] for one in settings["online"]} | {None: settings["threshold"]}
        return float(by_wait[wait])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Any]:
    folder = tmp_path_factory.mktemp("plant")
    plan = watched(folder, readings())
    files = untrained_detector_files(plan, folder)
    with contextlib.chdir(folder):  # MLflow keeps artifacts where it stands
        store = open_store("plant", f"sqlite:///{folder}/mlflow.db")
        parent = mlflow_runs.open_sweep(store, records.sweep_entry(plan))
        run = run_recording.record_run(
            store, parent, run_recording.RunEntry("own", "run", "key", files=files, backend="jax")
        )
        return store, store.client.get_run(run)


@pytest.fixture
def site(
    recorded: tuple[Store, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    programs: Path,
    request: pytest.FixtureRequest,
) -> Site:
    store, run = recorded
    monkeypatch.setattr(detection, "CACHE", programs)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    name = f"plant{hash(request.node.name) % 10**8}"
    model_id = registry.logged_model_id(store.client, run)
    expected = registry.alias_number(registry.registered_model(store.client, name), registry.CHAMPION)
    about = {"verb": "promotion", "tags": {}, "card": "", "expected": expected}
    promotion.register_champion(store.client, name, run, model_id=model_id, **about)
    return Site(name, store)


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gridcast", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_the_command_line_follows_a_folder_by_the_champion(site, monkeypatch, capsys, tmp_path):
    frame, feed = readings(), tmp_path / "feed"
    feed.mkdir()
    words = "detect", site.name, "--follow", str(feed), "--once", "--record", "record.sqlite", "--wait", "0"
    for number, end in enumerate(range(60, 481, 60)):
        put(feed, f"{number}.csv", frame.drop(columns="anomaly").iloc[end - 60 : end])
    assert command(monkeypatch, *words) == 0
    said = capsys.readouterr().out
    assert f"{site.name} version 1 follows" in said
    assert "7.csv: 60 rows up to 2024-01-01T07:59:00, 60 steps scored" in said
    assert rows(tmp_path / "record.sqlite", "SELECT count(*), sum(score IS NOT NULL) FROM steps") == [(480, 480)]
    found = rows(tmp_path / "record.sqlite", "SELECT first, last, blame FROM events WHERE first >= '2024-01-01T06:30'")
    assert found[0][0] <= "2024-01-01T06:40:00" <= found[-1][1]
    assert said.count(f"ALERT {site.name}: anomaly since ") == len(
        rows(tmp_path / "record.sqlite", "SELECT id FROM events")
    )
    assert json.loads(found[0][2])[0][0] == "heat"
    assert command(monkeypatch, *words) == 0
    assert "ALERT" not in capsys.readouterr().out


def test_files_get_the_scores_and_events_of_the_stream(site, monkeypatch, capsys, tmp_path):
    """A table, several files, the followers of their folder and of an address find the same scores, bit for bit."""
    labels = pd.DataFrame({"start": [], "end": []})
    frame, feed = readings().drop(columns="anomaly").head(480), tmp_path / "feed"
    feed.mkdir()
    for number in range(4):
        put(feed, f"{number}.csv", frame.iloc[120 * number : 120 * (number + 1)])
    assert command(monkeypatch, "detect", site.name, "--follow", "feed", "--once", "--record", "record.sqlite") == 0
    recorded = dict(rows(tmp_path / "record.sqlite", "SELECT time, score FROM steps WHERE score IS NOT NULL"))
    port = free_port()
    plant = frame.assign(time=pd.to_datetime(frame["time"]))
    with simulated_plant.make_server(plant, labels, "127.0.0.1", port, speed=0, ready=len(frame)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        words = ("--follow", f"http://127.0.0.1:{port}/readings", "--once", "--record", "url.sqlite")
        code = command(monkeypatch, "detect", site.name, *words)
        server.shutdown()
    assert code == 0
    assert dict(rows(tmp_path / "url.sqlite", "SELECT time, score FROM steps WHERE score IS NOT NULL")) == recorded
    from_frame = gridcast.detect(site.name, frame)
    for found in (gridcast.detect(site.name, [feed / f"{number}.csv" for number in range(4)]), from_frame):
        scores = found.scores.set_index(found.scores["time"].map(pd.Timestamp.isoformat))["score"]
        assert scores[list(recorded)].tolist() == list(recorded.values())
    assert len(recorded) > 400
    live = (tmp_path / "reports" / site.name / "live.html").read_text(encoding="utf-8")
    assert "State of the follower" in live
    assert "480 rows were read" in live

    capsys.readouterr()
    words = ("feed", "-o", "scores.xlsx", "--report", "page.html")
    assert command(monkeypatch, "detect", site.name, *words) == 0
    said, page = capsys.readouterr().out, (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"{site.name} version 1: 480 steps" in said
    assert from_frame.page.headline in said
    assert from_frame.page.headline in page
    assert not re.search(r"(src|href)=.https?:|url[(]http|@import", page)
    assert [event.start for event in from_frame.events.itertuples()] == from_frame.events["start"].tolist()
    worst = from_frame.events.loc[from_frame.events["severity"].idxmax()]
    assert worst["blame"].startswith("heat (")
    assert f"Look first at {worst['peak_time']:%Y-%m-%d %H:%M}: {worst['blame']}." in page
    written = pd.read_excel("scores.xlsx")
    assert written["score"].tolist() == pytest.approx(from_frame.scores["score"].tolist(), nan_ok=True)


def test_a_file_for_each_sensor_is_joined_by_stamp_and_two_values_are_refused(site, tmp_path):
    frame = readings().drop(columns="anomaly").head(100)
    for name in ("flow", "heat"):
        frame[["time", name]].to_csv(tmp_path / f"{name}.csv", index=False)
    whole, joined = gridcast.detect(site.name, frame), gridcast.detect(site.name, tmp_path)
    pd.testing.assert_frame_equal(joined.scores, whole.scores)
    frame[["time", "flow"]].assign(flow=lambda table: table["flow"] + (table.index == 7)).to_csv(
        tmp_path / "more.csv", index=False
    )
    with pytest.raises(DataError, match=r"more.csv: 'flow' has two values at 2024-01-01 00:07:00; leave one"):
        gridcast.detect(site.name, tmp_path)


def test_a_page_that_cannot_be_written_stops_no_alert(site, monkeypatch, capsys, tmp_path):
    feed = tmp_path / "feed"
    feed.mkdir()
    put(feed, "a.csv", readings().drop(columns="anomaly").iloc[360:480])
    (tmp_path / "reports").write_text("a file in place of the folder")
    assert command(monkeypatch, "detect", site.name, "--follow", "feed", "--once", "--record", "record.sqlite") == 0
    assert "ALERT" in capsys.readouterr().out
    assert rows(tmp_path / "record.sqlite", "SELECT count(*) FROM problems") == [(0,)]


def test_the_page_has_the_training_span_and_says_where_a_model_has_none(site):
    found = gridcast.detect(site.name, readings().drop(columns="anomaly").head(200))
    summary = found.page.training
    trained = readings().iloc[: len(readings()) * 6 // 10]
    assert min(summary["low"]["heat"]) == pytest.approx(trained["heat"].min(), rel=1e-4)
    assert max(summary["high"]["flow"]) == pytest.approx(trained["flow"].max(), rel=1e-4)
    assert "The grey part is enlarged" in detection_page.render_page(found.page)
    assert "made by an earlier version" in detection_page.render_page(replace(found.page, training={}))


def test_a_page_is_whole_whenever_it_is_read(site, tmp_path, monkeypatch):
    """A reader that never stops finds one of the pages, never a part or none."""
    found, path = gridcast.detect(site.name, readings().drop(columns="anomaly").head(100)), tmp_path / "page.html"
    text = detection_page.render_page(found.page)
    monkeypatch.setattr(detection_page, "render_page", lambda _: text)  # drawn once
    found.report(path)
    seen, done = set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_text(encoding="utf-8") == text)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(100):
        found.report(path)
    done.set()
    reader.join()
    assert seen == {True}


def test_detect_wants_either_files_or_a_feed(site, monkeypatch, capsys):
    readings().to_csv("plant.csv", index=False)
    for words, told in (
        ((), "name either the files to score, or a feed with --follow"),
        (("plant.csv", "--follow", "."), "name either the files to score, or a feed with --follow"),
        (("plant.csv", "--report", "page.pdf"), "--report: 'page.pdf' must be an .html file in a folder that exists"),
        (("plant.csv", "-o", "scores.txt"), "--output: 'scores.txt' must be a .csv, .xlsx or .parquet file"),
        (("nothing.csv",), "nothing.csv"),
        (("--follow", ".", "-o", "scores.csv"), "--output: is for files"),
    ):
        assert command(monkeypatch, "detect", site.name, *words) == 2
        assert told in capsys.readouterr().err


def test_looking_once_at_what_cannot_be_read_or_scored_ends_with_2(site, monkeypatch, capsys, tmp_path):
    feed, frame = tmp_path / "feed", readings().drop(columns="anomaly").head(60)
    feed.mkdir()
    words = "detect", site.name, "--follow", str(feed), "--once", "--record", "record.sqlite"
    assert command(monkeypatch, *words) == 0
    assert "nothing to read" in capsys.readouterr().out
    put(feed, "a.csv", frame.assign(time="soon"))
    assert command(monkeypatch, *words) == 2
    assert (
        "half of the rows or more could not be read: a.csv: 60 rows, no step scored; 60 rows have no time"
        in capsys.readouterr().err
    )
    put(feed, "b.csv", frame.drop(columns="heat"))
    assert command(monkeypatch, *words) == 2
    assert "none of 60 steps could be scored" in capsys.readouterr().err
    put(feed, "c.csv", frame[["time", "heat"]])  # a file for each sensor
    assert command(monkeypatch, *words) == 0
    assert "57 steps scored" in capsys.readouterr().out


def test_a_table_of_normal_operation_that_cannot_be_read_is_named_once(site, monkeypatch, capsys):
    NORMAL.astype({"flow": object}).assign(flow=lambda frame: frame["flow"].mask(frame.index == 7, "Bad Input")).to_csv(
        "normal.csv", index=False
    )
    assert command(monkeypatch, "recalibrate", site.name, "normal.csv") == 2
    told = capsys.readouterr().err
    assert told.startswith("error: normal.csv, line 9, column 'flow': 'Bad Input' is not a number")


def test_wrong_options_of_a_stream_are_refused_before_it_begins(site, monkeypatch, capsys, tmp_path):
    file = write_experiment(tmp_path / "small.yaml")
    for words, told in (
        ((site.name, "--follow", "nowhere"), "--follow: 'nowhere' is no folder"),
        ((site.name, "--follow", ".", "--every", "soon"), "--every: 'soon' is no interval"),
        ((site.name, "--follow", ".", "--webhook", "host/path"), "--webhook: the address (scheme: none) must be like"),
        ((f"{site.name}x", "--follow", "."), f"no registered model '{site.name}x'; did you mean '{site.name}'?"),
        ((str(file), "--follow", "."), "selection.promote_to: is missing"),
    ):
        assert command(monkeypatch, "detect", *words) == 2
        assert told in capsys.readouterr().err


def test_a_recomputed_threshold_becomes_a_new_version(site, monkeypatch, capsys, tmp_path):
    NORMAL.to_csv("normal.csv", index=False)
    old = site.threshold("champion")
    assert command(monkeypatch, "recalibrate", site.name, "normal.csv") == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert f"{site.name}: version 2 is the champion, version 1 is the previous one." in said
    assert site.aliases == {"champion": "2", "previous": "1"}
    assert site.threshold("previous") == old
    assert site.threshold("champion") != old
    assert f"threshold {site.threshold('champion'):.6g} instead of {old:.6g}" in said
    one, two = (model_loading.load_model(f"models:/{site.name}/{number}").predict(NORMAL) for number in (1, 2))
    pd.testing.assert_frame_equal(
        one.drop(columns=["threshold", "anomaly"]), two.drop(columns=["threshold", "anomaly"])
    )
    champion = model_loading.load_model(f"models:/{site.name}@champion").model
    for wait in (None, 0, 3):  # of scores in hindsight, and of those of a stream
        assert set(champion.predict(NORMAL, {"wait": wait})["threshold"]) == {site.threshold("champion", wait)}
        assert site.threshold("champion", wait) != site.threshold("previous", wait)
    card = site.store.client.get_model_version(site.name, "2").description
    assert "recalibration of version 1" in card
    assert "normal.csv" in card
    # The same again changes nothing, and a roll back leads to the old threshold.
    assert command(monkeypatch, "recalibrate", site.name, "normal.csv") == 0
    assert "version 2 is the champion already, nothing changed" in capsys.readouterr().out
    assert command(monkeypatch, "rollback", site.name) == 0
    assert site.threshold("champion") == old


def test_a_gate_that_refuses_leaves_the_registry_as_it_was_unless_forced(site, monkeypatch, capsys):
    NORMAL.drop(columns="anomaly").to_csv("bare.csv", index=False)
    assert command(monkeypatch, "recalibrate", site.name, "bare.csv") == 1
    said = capsys.readouterr().err
    assert f"'{site.name}' keeps its threshold, the gate 'nothing is flagged' refused" in said
    assert "the champion itself finds" in said
    assert site.aliases == {"champion": "1"}
    assert command(monkeypatch, "recalibrate", site.name, "bare.csv", "--force", " ") == 2
    assert command(monkeypatch, "recalibrate", site.name, "bare.csv", "--force", "seen by the foreman") == 0
    assert site.aliases == {"champion": "2", "previous": "1"}
    version = site.store.client.get_model_version(site.name, "2")
    assert version.tags[registry.FORCED_TAG] == "seen by the foreman"
    assert "Set by force: seen by the foreman. The gate 'nothing is flagged' had refused" in version.description


@pytest.fixture
def followed(site, monkeypatch, tmp_path):
    """A function that follows a table and returns the words that recalibrate from its record."""

    def follow(table):
        feed = tmp_path / "feed"
        feed.mkdir(exist_ok=True)
        put(feed, f"{len(list(feed.iterdir()))}.csv", table.drop(columns="anomaly"))
        assert command(monkeypatch, "detect", site.name, "--follow", str(feed), "--once", "--record", "a.sqlite") == 0
        return "recalibrate", site.name, "a.sqlite"

    return follow


def test_a_threshold_is_recomputed_from_the_record_of_a_stream_without_its_events(
    site, followed, monkeypatch, capsys, tmp_path
):
    words = followed(NORMAL)
    found = rows(tmp_path / "a.sqlite", "SELECT id, steps FROM events ORDER BY first")
    capsys.readouterr()
    assert command(monkeypatch, *words, "--max-false-alarms", "0.05") == 0, capsys.readouterr().err
    left_out = int(re.search(r"([\d,]+) left out", capsys.readouterr().out)[1])
    assert left_out >= sum(steps for _, steps in found) > 0
    assert site.aliases == {"champion": "2", "previous": "1"}
    key = max(found, key=lambda event: event[1])[0]
    assert command(monkeypatch, *words, "--false", key, "--force", "to see") == 0
    assert int(re.search(r"([\d,]+) left out", capsys.readouterr().out)[1]) < left_out
    assert command(monkeypatch, *words, "--force", "to see") == 0  # marked once, it stays marked
    assert int(re.search(r"([\d,]+) left out", capsys.readouterr().out)[1]) < left_out
    assert command(monkeypatch, *words, "--last", "12h", "--force", "to see") == 0
    assert "(2024-01-02 04:00:00 to 2024-01-02 15:59:00," in capsys.readouterr().out


def test_a_threshold_is_recomputed_only_after_drift(site, followed, monkeypatch, capsys):
    words = (*followed(NORMAL), "--last", "3h", "--drifted", "--max-false-alarms", "1")
    capsys.readouterr()
    assert command(monkeypatch, *words) == 0
    assert "have not drifted" in capsys.readouterr().out
    assert site.aliases == {"champion": "1"}
    later = NORMAL.tail(180).assign(heat=lambda table: table["heat"] + 12)
    later["time"] = (pd.to_datetime(later["time"]) + pd.Timedelta("3h")).dt.strftime("%Y-%m-%d %H:%M")
    followed(later)
    for event in rows(Path("a.sqlite"), "SELECT id FROM events WHERE last >= '2024-01-02T16:00'"):
        words += ("--false", *event)
    capsys.readouterr()
    assert command(monkeypatch, *words) == 0, capsys.readouterr().err
    assert "have drifted (PSI " in capsys.readouterr().out
    assert site.aliases == {"champion": "2", "previous": "1"}


def test_a_wrong_record_is_refused_and_nothing_is_changed(site, followed, monkeypatch, capsys, tmp_path):
    words = followed(NORMAL.head(600))
    NORMAL.to_csv("normal.csv", index=False)
    (key, *_), *_ = rows(tmp_path / "a.sqlite", "SELECT id FROM events")
    Ledger(tmp_path / "b.sqlite", "another", "min").close()
    for more, told in (
        ((*words, "--false", key[:-1]), f"--false: a.sqlite has no alert '{key[:-1]}'; did you mean '{key}'?"),
        ((*words[:2], "normal.csv", "--false", key), "--false: normal.csv is not a log of `gridcast detect`"),
        ((*words[:2], "b.sqlite"), "b.sqlite: belongs to a stream of model 'another'"),
        ((*words, "--drifted"), "--drifted: needs --last"),
        ((*words, "--last", "soon"), "--last: 'soon' is no interval"),
        ((*words, "--every", "0d"), "--every: '0d' is no interval"),
        ((*words, "--last", "9h", "--drifted"), "a.sqlite: --drifted: "),
        ((*words, "--last", "1h"), "a.sqlite: 60 steps can be scored"),
    ):
        assert command(monkeypatch, *more) == 2, told
        assert told in capsys.readouterr().err
    assert site.aliases == {"champion": "1"}
    assert rows(tmp_path / "a.sqlite", "SELECT * FROM false_alarms") == []


def test_repeated_recalibration_reads_new_steps_and_reports_refusals(site, followed, monkeypatch, capsys):
    words = followed(NORMAL)
    capsys.readouterr()
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            signal.raise_signal(signal.SIGINT)  # Ctrl-C

    monkeypatch.setattr(cli.anomalies.time, "sleep", pause)
    assert command(monkeypatch, *words, "--every", "7d", "--max-false-alarms", "0") == 0
    assert pauses == [7 * 86400] * 2
    said = capsys.readouterr().out.splitlines()
    assert {line.split(": ")[0] for line in said[::2]} == {f"{site.name} version 1"}
    assert ["refused" in line and line.endswith("trying again in 168 h 00 min") for line in said[1::2]] == [True, True]


def test_a_version_that_a_crash_left_without_alias_is_used_again(site, monkeypatch, capsys):
    NORMAL.to_csv("normal.csv", index=False)
    client, real = type(site.store.client), type(site.store.client).set_registered_model_alias

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "set_registered_model_alias", crash)
    from gridcast.monitoring import normal_operation, recalibration
    from gridcast.monitoring.new_threshold import new_threshold

    loaded = model_loading.load_model(site.name)
    said = normal_operation.score_readings(
        loaded.model, *normal_operation.read_readings(Path("normal.csv"), loaded.model, "anomaly")
    )
    figures = new_threshold(loaded.model, said)
    with pytest.raises(KeyboardInterrupt):
        recalibration.recalibrate(loaded, figures, source=Path("normal.csv"), max_false_alarms=0.01)
    assert site.aliases == {"champion": "1"}
    monkeypatch.setattr(client, "set_registered_model_alias", real)
    assert command(monkeypatch, "recalibrate", site.name, "normal.csv") == 0
    assert site.aliases == {"champion": "2", "previous": "1"}
    assert len(site.store.client.search_model_versions(f"name='{site.name}'")) == 2


def test_a_stream_goes_on_with_a_version_that_becomes_champion_meanwhile(site, monkeypatch):
    current = detection.champion_source(site.name, None)
    first = current()
    assert current() is first
    NORMAL.to_csv("normal.csv", index=False)
    assert command(monkeypatch, "recalibrate", site.name, "normal.csv") == 0
    second = current()
    assert (first.version, second.version) == ("1", "2")
    assert first.wait == second.wait == 3  # half a window
    assert second.detector.threshold == site.threshold("champion", None)
    assert second.detector.threshold_after(second.wait).threshold == site.threshold("champion")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert current() is second


def test_the_simulated_plant_is_served_from_the_command_line(tmp_path):
    port = free_port()
    words = [sys.executable, "-m", "gridcast.cli", "simulate", "plant", "--port", str(port), "--days", "2"]
    process = warm_python.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert (
            f"http://127.0.0.1:{port}/readings: 2,160 minutes are there, then one every 1 s"
            in process.stdout.readline()
        )
        given = pd.read_csv(f"http://127.0.0.1:{port}/readings?after=2024-01-02T11:50:00")
        assert given["time"].iloc[0] == "2024-01-02 11:51:00"
        assert 9 <= len(given) < 60
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
