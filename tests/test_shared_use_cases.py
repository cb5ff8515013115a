"""Inputs of detectors and of models in use, rebuilt from public reports: each ends as its folder says.

The pump's detector is calibrated once, on the network as it is initialised: the cases are about what is read and said,
not about how well a network was trained. Sweeps and monitors, which train, are slow tests.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gridcast import cli, config
from gridcast.monitoring import normal_operation, recalibration
from gridcast.monitoring.new_threshold import new_threshold
from gridcast.monitoring.stream import follow, followed_model
from gridcast.monitoring.stream.feed_rows import RowFormat
from gridcast.monitoring.stream.feeds import FolderFeed
from gridcast.monitoring.stream.ledger import Ledger
from gridcast.runtime.errors import InputError
from gridcast.sweep import plan as plans
from stream_process import rows

CASES = Path(__file__).parents[2] / "shared" / "cases" / "use"
BLAMED = re.compile(r"(?:most to blame: |ALERT pump: )(\w+)(?: is stuck| \()")
NOW = pd.Timestamp("2026-11-30 02:00")
"""The clock of the streams: no case is ahead of it by more than one has."""

pytestmark = [
    pytest.mark.skipif(not CASES.is_dir(), reason=f"no folder {CASES}"),
    pytest.mark.xdist_group("use cases"),
]


@dataclass(frozen=True)
class Stream:
    """The outcome of following a folder: how many `steps` there are, how many have a score, the blamed sensors.

    `told` is in the lines, `error` in what a look with `--once` raises.
    """

    steps: int = 120
    scored: int = 120
    blamed: tuple[str, ...] = ()
    told: str = ""
    error: str = ""


CONTROL = Stream()
STREAMS = {
    "f01-control": CONTROL,
    "f02-dayfirst-semicolon-comma": CONTROL,
    "f03-thousands": CONTROL,
    "f04-sentinel": Stream(scored=114, told="6 readings of 'flow' are -9999, far from training: taken for no reading"),
    "f06-stuck": Stream(blamed=("vibration",), told="vibration is stuck since 2024-01-01T10:40:00. It has been 1.546"),
    "f07-unit": Stream(blamed=("temperature",), told="if its unit changed, convert the values"),
    "f09-clock-ahead": Stream(119, 119, ("flow",), told="1 rows lie far ahead of all others: set aside until"),
    "f10-dups-unsorted": Stream(told="10 rows repeat steps that are stored already: ignored"),
    "f11-long": Stream(0, 0, error="'tag' names sensors, so this is a row for each reading, and a column for each"),
    "f12-offset-dst": CONTROL,
    "f13-overlap": Stream(told="10 rows repeat steps that are stored already: ignored"),
    "f14-same-size-rolling": Stream(blamed=("flow",), told="the file was written again, so it is read again"),
    "f15b-replaced-shorter": Stream(told="the file has become shorter, so it is read again"),
    "f17-torn-line": CONTROL,
    "f17b-torn-fields": CONTROL,
    "f18-bom-crlf": CONTROL,
    "f18b-utf16": CONTROL,  # read, which is better than to refuse it: its byte order mark leaves no doubt
    "f19-renamed": Stream(scored=0, told="did you mean 'Flow_m3h'?", error="'flow' has a reading at 0 of 120"),
    "f19b-case-space": Stream(scored=0, told="did you mean 'Flow'?", error="'flow' has a reading at 0 of 120"),
    "f20-status": Stream(told="columns that the model does not know are ignored: 'machine_status', 'quality'"),
    # What a quality code means, nobody has said: the column is named, the zeros beside it are readings.
    "f20b-quality": Stream(blamed=("flow",), told="columns that the model does not know are ignored: 'quality'"),
    "f21-late-file": Stream(told="60 rows came late"),
    "f22-header-again": Stream(told="1 lines that repeat the header are passed over"),
    "f23-no-header": Stream(60, 60, error="b.csv: 59 rows, no step scored; line 1: holds values such as"),
    "f24-preamble-units": Stream(0, 0, error="line 1: is no header; line 4 names the columns: delete the 3 lines"),
    "f24b-unit-row": Stream(told="1 rows have no time that can be read, the first '[min]'"),
    "f29-excel-1904": Stream(0, 0, error="it is a date as Excel counts days: write it as 2011-12-31"),
    "f30-epoch": Stream(0, 0, error="it is a Unix time in s: write it as 2011-12-31"),
    "f31-12h": CONTROL,
    "f32-file-per-sensor": Stream(told="120 steps that are stored already gain a sensor that they lacked"),
    "f33-utc-suffix": CONTROL,
    "f34-24h": Stream(0, 0, error="write midnight at the end of a day as 00:00 of the next day"),
    "f35-sensor-added-mid-file": Stream(told="the rows after a further header are read by it (time, rpm2, speed"),
    "f37-fixed-and-written-again": Stream(told="the file was written again", error="'32/13/2024 10:00:00' is not a"),
    "f39-quoted": CONTROL,
    "f40-spaces-after-comma": CONTROL,
    "f41-hash-comment": Stream(0, 0, error="line 1: is no header; line 2 names the columns"),
    "f42-tab": CONTROL,
    "f43-pipe": CONTROL,
    "f44-missing-words": Stream(scored=115, told="4 readings of 'flow' are not numbers, the first '<null>'"),
    "f45-different-rates": Stream(scored=0, error="'temperature' has a reading at 12 of 120"),
    "f46-twice": Stream(blamed=("flow",)),
    "t01-sentinel-trained": Stream(blamed=("flow",)),  # by a detector that was trained as the warning advises
}
VALID = {
    "v03-sentinel": "warning: 31 values of 'flow' are -9999, far from the others",
    "v04-status-text": "no sensors, as they do not hold numbers: machine_status",
    "v05-label-as-sensor": "warning: no sensors: is_anomaly, changepoint hold only 0 and 1",
    "v06-empty-sensor": "no sensors, as they do not hold numbers: s15",
    "v07-constant": "1 series constant over the training span (valve)",
    "v10-time-with-points": "day-first dates",
    "v11-trailing-separators": "1,500 rows, UTF-8, semicolons, decimal comma",
    "v13b-dst-repeated-last": "360 repeated rows left out (data.repeated: last), of 60 stamps from 2024-01-01 09:00:00",
    "v14-utf16": "1,500 rows, UTF-16",
    "v15-gz": "a.csv.gz: 1,500 rows",
    "v19-utc-suffix": "1,500 rows",
    "v22b-overlap-first": "600 repeated rows left out (data.repeated: first)",
    "c-clean": "4,300 rows",
    "c-leak": "warning: no sensors: changepoint hold only 0 and 1",
    "c-quiet": "5,760 rows",
    "c-sentinel": "warning: 30 values of 'flow' are -9999, far from the others",
}
"""Experiments that can be run, and what the notes on their data say."""
INVALID: dict[str, tuple[list[str], dict[str, Any]]] = {
    "v01-bad-input": (["line 52, column 'flow': 'Bad Input'", "data.missing: ['Bad"], {"missing": ("Bad Input",)}),
    "v02-question-mark": (["line 72, column 'speed': '?'", "data.missing: ['?']"], {"missing": ("?",)}),
    "v06b-empty-sensor-named": (["a.csv, column 's15': empty in every row"], {"sensors": ("speed", "flow")}),
    "v09-date-and-time-columns": (["is a time without a date; join the columns of date and time into one"], {}),
    "v12-jitter": (["1,499 stamps are up to 0.68 seconds beside a step", "observed"], {"calendar": "observed"}),
    "v13-dst-naive": (["line 602", "line 542", "the hour from 2024-01-01 09:00:00 on"], {"repeated": "last"}),
    "v16-preamble": (["line 1: is no header; line 4 names the columns: write data.skip: 3"], {"skip": 3}),
    "v17-unit-row": (["line 2, column 'time': '[min]'", "delete the line"], {}),
    "v20-labels-windows": (["'windows.json' has no entry for a.csv; did you mean 'plant/a.csv'?"], {}),
    "v21-renamed-mid-year": (["d2.csv, line 1: no column 'flow'", "did you mean 'flow_m3h'?"], {}),
    "v22-overlap": (["d2.csv, line 2", "d1.csv, line 702", "data.repeated"], {"repeated": "first"}),
    "v23-different-rates": (["no window of the train span", "'temperature' has 10 %"], {"sensors": ("speed", "flow")}),
}
"""Experiments that are refused: what the refusal says, and the change to `data` that it advises."""
RECALIBRATED = {
    "r01-sentinel-in-normal": "the champion itself finds",
    "r02-text-in-normal": "line 202, column 'flow': 'Bad Input' is not a number; correct it",
    "r03-short": "30 steps can be scored and are not labelled as anomalous, at least 150 are needed",
    "r04-dayfirst": "",
    "r05-ok": "",
}
"""Why a table of normal operation gives no threshold; empty where it gives one, or a gate says why not."""
MONITORED = {
    "m-de": (0, "raises no alarm: nothing exceeds its limit"),
    "m-drift": (1, "The values of load are higher than in training"),
    "m-dup": (2, "series 'south' at 2025-04-10 21:00:00 occurs twice; keep one row of it"),
    "m-gap": (0, "335 judged steps of 336 new ones"),
    "m-new_only": (0, "240 judged steps of 240 new ones"),
    "m-ok": (0, "raises no alarm: nothing exceeds its limit"),
    "m-sent": (0, "a few large errors make it"),
}
"""Exit codes of `gridcast monitor`, and what it says."""


def test_every_case_stands_in_one_table():
    tables = [*STREAMS, *VALID, *INVALID, *RECALIBRATED, *MONITORED]
    assert len(tables) == len(set(tables))
    assert sorted(tables) == sorted(path.name for path in CASES.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def detector(tmp_path_factory, jax_backend):
    """The detector of the pump, which knows normal operation, with the network that training begins with."""
    from gridcast.models import autoencoder
    from gridcast.training import calibration

    with contextlib.chdir(CASES):
        plan = planned("pump.yaml")
    settings = plan.reference_run.configuration
    shape = autoencoder.AutoencoderShape(settings.lookback, 6)
    network = autoencoder.build_autoencoder(settings, shape, 1, portable=True)
    return calibration.calibrate_detector(plan.dataset, settings, network)[1]


def planned(file: str, **changes: Any) -> plans.Plan:
    """The plan of an experiment file in the current folder, with changes to its section `data`."""
    experiment = config.read(file)
    data = experiment.data.model_copy(update=changes)
    return plans.make_plan(experiment.model_copy(update={"data": data}), config.read_text(file), "jax")


def copied(name: str, folder: Path) -> Path:
    """A copy of a case; what it shares with another one is taken from there."""
    copy = folder / name
    shutil.copytree(CASES / name, copy)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o755)
    if name == "v14-utf16":
        text = (CASES / "v19-utc-suffix" / "a.csv").read_text().replace(" UTC", "")
        (copy / "a.csv").write_bytes(text.encode("utf-16"))
    if name == "v22b-overlap-first":
        for part in ("d1.csv", "d2.csv"):
            shutil.copy(CASES / "v22-overlap" / part, copy)
    return copy


def earlier_states(name: str, feed: Path) -> list[tuple[str, str | None]]:
    """What stood in the folder before: the file that changes, and its text then; None for no file."""
    lines = (CASES / "f01-control" / "in" / "a.csv").read_text().splitlines(keepends=True)
    if name.startswith("f14"):  # the hour before, padded to the same length
        fields = [line.strip().split(",") for line in lines[1:61]]
        padded = [",".join([time, *(f"{float(value):010.3f}" for value in values)]) for time, *values in fields]
        return [("last_hour.csv", "".join([lines[0], *(f"{line}\n" for line in padded)]))]
    if name.startswith("f15b"):
        return [("current.csv", "".join(lines[:81]))]
    if name.startswith("f17"):
        torn = lines[60][:-4] if name == "f17-torn-line" else ",".join(lines[60].split(",")[:4])
        return [("log.csv", "".join([*lines[:60], torn]))]
    if name.startswith("f21"):
        return [("a.csv", None)]
    if name.startswith("f37"):
        return [("a.csv", (feed / "a.csv").read_text().replace("2024-01-01", "32/13/2024"))]
    return []


class Followed:
    """A copy of a case that is followed, its record, the lines and the errors of all looks."""

    def __init__(self, name: str, folder: Path, detector: Any) -> None:
        self.feed = copied(name, folder) / "in"
        self.record, self.said, self.errors, self.problems = folder / "record.sqlite", [], [], []
        self.model = followed_model.FollowedModel("pump", "1", detector, detector.lookback // 2)
        self.age = 60.0

    def put(self, name: str, text: str | None, *, fresh: bool = False) -> None:
        """Write a file, newer than those before and yet finished, unless it is `fresh`."""
        if text is None:
            (self.feed / name).unlink()
            return
        (self.feed / name).write_text(text)
        if not fresh:
            self.age -= 1
            os.utime(self.feed / name, (time.time() - self.age,) * 2)

    def look(self) -> None:
        """Look once, as `gridcast detect --once` does."""
        with contextlib.closing(Ledger(self.record, "pump", "min")) as ledger:
            try:
                follow.follow_feed(
                    FolderFeed(self.feed, RowFormat.of_model(self.model.detector.preprocessing)),
                    ledger,
                    current_model=lambda: self.model,
                    channels=follow.alert_channels(self.said.append, None, ()),
                    tell=self.said.append,
                    interval=1,
                    once=True,
                )
            except follow.OpenProblem as error:  # of a feed that is no better than at the look before
                self.problems.append(str(error))
            except InputError as error:
                self.errors.append(str(error))


@pytest.mark.parametrize("name", STREAMS)
def test_a_followed_folder(name, detector, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(follow, "utc_now", lambda: NOW)
    followed, expected = Followed(name, tmp_path, detector), STREAMS[name]
    for path in followed.feed.iterdir():
        os.utime(path, (time.time() - 120,) * 2)
    for file, before in earlier_states(name, followed.feed):
        after = (followed.feed / file).read_text()
        followed.put(file, before, fresh=name.startswith("f17"))
        followed.look()
        followed.put(file, after)
    for _ in range(3):  # the last look has nothing to do
        followed.look()
    lines = "\n".join([*followed.said, caplog.text])
    counts = rows(followed.record, "SELECT count(*), count(score) FROM steps")
    assert counts == [(expected.steps, expected.scored)], lines
    alerts = [line for line in followed.said if line.startswith("ALERT") and ": feed: " not in line]
    blamed = {sensor for line in alerts for sensor in BLAMED.findall(line)}
    assert blamed == set(expected.blamed), lines
    assert expected.told in lines
    assert [expected.error in error for error in followed.errors] == [True] * bool(expected.error)
    assert followed.said[-1] == "nothing to read" or "nothing new" in followed.said[-1] or expected.error


@pytest.mark.parametrize("name", VALID)
def test_an_experiment_that_can_be_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(copied(name, tmp_path))
    (file,) = Path().glob("*.yaml")
    plan = planned(str(file))
    assert any(VALID[name] in note for note in plan.panel.notes), plan.panel.notes


@pytest.mark.parametrize("name", INVALID)
def test_an_experiment_that_is_refused_and_the_remedy(name, tmp_path, monkeypatch):
    monkeypatch.chdir(copied(name, tmp_path))
    parts, remedy = INVALID[name]
    with pytest.raises(InputError) as refused:
        planned("x.yaml")
    assert [part for part in parts if part not in str(refused.value)] == []
    if remedy:
        assert len(planned("x.yaml", **remedy).panel.times) >= 1400


def test_labels_outside_of_the_table_and_intervals_that_end_before_they_begin_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(copied("v20-labels-windows", tmp_path))
    with pytest.raises(InputError, match="ends before it begins"):
        planned("x.yaml", labels="windows2.json")
    text = Path("windows2.json").read_text()
    Path("later.json").write_text(text.replace('["2024-01-01 22:30", "2024-01-01 22:00"]', '"2024-01-01 22:30"'))
    with pytest.raises(InputError, match="lies outside of a.csv, whose rows are from 2024-01-01 00:00:00 to"):
        planned("x.yaml", labels="later.json")


@pytest.mark.parametrize("name", RECALIBRATED)
def test_a_table_of_normal_operation(name, detector):
    reason = RECALIBRATED[name]
    told, threshold = "", None
    try:
        readings, is_anomalous = normal_operation.read_readings(CASES / name / "normal.csv", detector, "anomaly")
        operation = normal_operation.score_readings(detector, readings, is_anomalous)
        threshold = new_threshold(detector, operation)
    except InputError as error:
        told = str(error)
    if threshold is not None:
        told = " ".join(why for judge in recalibration.THRESHOLD_GATES.values() if (why := judge(threshold, 0.01)))
    assert reason in told
    assert bool(reason) == (threshold is None or threshold.new > 3 * threshold.old)


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Runs the command line in the folder of the test; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gridcast", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in VALID if name.startswith("c-")])
def test_a_sweep_ends_with_a_report_however_few_alarms_its_winner_raises(name, command, tmp_path):
    copy = copied(name, tmp_path)
    for path in copy.iterdir():
        path.rename(tmp_path / path.name)
    (file,) = tmp_path.glob("*.yaml")
    code, said, errors = command("run", file.name, "--workers", "1")
    assert code == 0, errors
    assert "Report: reports/" in said
    assert next(tmp_path.glob("reports/*/report.html")).stat().st_size > 10_000


LOAD = """
version: 1
name: load
data: {source: load.csv, time: time, series: site, target: load, past: [temp], future: [hour], frequency: h,
       gaps: ffill, period: 24}
window: {lookback: 24, horizon: 1}
split: {train: 0.6, validation: 0.2, test: 0.2}
baseline: {layer: GRU, units: 8, dropout: 0.0, learning_rate: 0.01, batch_size: 64}
training: {epochs: 5, patience: 5}
selection: {metric: best_val_loss, promote_to: load, when_beaten: warn}
"""


def known_load() -> pd.DataFrame:
    """What was known before the actual values of the cases: the daily cycle of these, with as much noise."""
    random, actual = np.random.default_rng(0), pd.read_csv(CASES / "m-ok" / "act_ok.csv", parse_dates=["time"])
    times = pd.date_range("2025-01-01", "2025-03-27 23:00", freq="h")
    tables = []
    for site, table in actual.groupby("site"):
        columns: dict[str, Any] = {"time": times, "site": site}
        for name in ("load", "temp"):
            cycle = table.groupby(table["time"].dt.hour)[name].mean()
            rest = table[name] - cycle.loc[table["time"].dt.hour].to_numpy()
            memory, noise = rest.autocorr(), np.zeros(len(times))
            steps = random.normal(0, rest.std() * np.sqrt(1 - memory**2), len(times))
            for step in range(1, len(times)):
                noise[step] = memory * noise[step - 1] + steps[step]
            columns[name] = (cycle.loc[times.hour].to_numpy() + noise).round(3)
        tables += [pd.DataFrame(columns), table[table["time"] < "2025-04-01"]]
    return pd.concat(tables)


@pytest.mark.slow
def test_a_monitored_forecaster(command, tmp_path):
    (tmp_path / "load.yaml").write_text(LOAD)
    known_load().to_csv(tmp_path / "load.csv", index=False)
    code, _, errors = command("run", "load.yaml", "--workers", "1")
    assert code == 0, errors
    for name, (expected, told) in MONITORED.items():
        (actuals,) = (CASES / name).glob("*.csv")
        code, said, errors = command("monitor", "load", str(actuals))
        assert code == expected, (name, said, errors)
        assert told in said + errors, (name, said, errors)
