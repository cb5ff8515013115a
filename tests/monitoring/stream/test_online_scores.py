"""The evaluation of a detector uses the scores that `gridcast detect` records, however the rows arrive."""

import contextlib
import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gridcast.evaluation import detection_results, detection_table
from gridcast.models.baselines.detectors import DETECTOR_BASELINES
from gridcast.monitoring.stream import follow, followed_model
from gridcast.monitoring.stream.feed_rows import RowFormat
from gridcast.monitoring.stream.feeds import FolderFeed
from gridcast.monitoring.stream.ledger import Ledger
from gridcast.runtime import events
from gridcast.training import calibration
from small_experiments import readings, watched
from stream_process import put, rows

pytestmark = pytest.mark.usefixtures("jax_backend")

LOOKBACK = 6
HOLE = range(405, 409)
AROUND = range(396, 424)
"""Steps of the hole and of the labelled event, with those before and after them."""


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """A plant with a hole within the test span."""
    frame = readings().drop(index=HOLE)
    return watched(tmp_path_factory.mktemp("online"), frame, anomaly={"threshold": "quantile", "level": 0.02})


@pytest.fixture(scope="module")
def detectors(plan):
    """Untrained detectors of several kinds, with thresholds, and one that combines them."""
    from gridcast.models import autoencoder

    def build(kind):
        settings = plan.reference_run.configuration.model_copy(update={"detector": kind})
        network = autoencoder.build_autoencoder(settings, autoencoder.AutoencoderShape(LOOKBACK, 2), 1, portable=True)
        return calibration.calibrate_detector(plan.dataset, settings, network)[1]

    made = {kind: build(kind) for kind in ("reconstruction", "prediction", "both")}
    for name in DETECTOR_BASELINES:
        made[name] = detection_results.fit_thresholds(
            detection_results.simple_detector(name, plan.dataset), plan.dataset
        )

    def combined(*kinds):
        members = tuple(made[kind] for kind in kinds)
        whole = replace(made["both"], kind="ensemble", network=None, usual=(), members=members)
        return calibration.calibrate_threshold(plan.dataset, whole)[1]

    mixed = combined("reconstruction", "isolation forest")
    return made | {"ensemble": combined("reconstruction", "prediction", "both"), "mixed ensemble": mixed}


def recorded(folder, detector, tables, wait=None):
    """What a follower records who polls after each of `tables`: time, score, threshold, anomaly."""
    feed = folder / "feed"
    feed.mkdir(parents=True)
    model = followed_model.FollowedModel("plant", "1", detector, detector.wait if wait is None else wait)
    source, options = FolderFeed(feed, RowFormat.of_model(detector.preprocessing)), {"channels": {}, "tell": print}
    with contextlib.closing(Ledger(folder / "record.sqlite", "plant", "min")) as ledger:
        for number, table in enumerate(tables):
            put(feed, f"{number:04}.csv", table)
            follow.poll_once(source, ledger, model, **options)
        follow.poll_once(source, ledger, model, **options)
    query = "SELECT time, score, threshold, anomaly FROM steps WHERE score IS NOT NULL ORDER BY time"
    table = pd.DataFrame(rows(folder / "record.sqlite", query), columns=["time", "score", "threshold", "anomaly"])
    return table.set_index(pd.DatetimeIndex(table.pop("time")))


@pytest.mark.parametrize(
    ("kind", "one_by_one"),
    [
        *itertools.product(["reconstruction", "prediction", "both", "ensemble"], [AROUND, ()]),
        *((kind, AROUND) for kind in (*DETECTOR_BASELINES, "mixed ensemble")),
    ],
    ids=lambda value: value if isinstance(value, str) else "step by step" if value else "at once",
)
def test_the_scores_of_the_evaluation_are_those_that_a_follower_records(plan, detectors, tmp_path, kind, one_by_one):
    detector, (start, end) = detectors[kind], plan.dataset.spans["test"]
    scores = detection_results.detector_scores(detector, plan.dataset)
    assert scores.wait == (0 if kind in ("prediction", *DETECTOR_BASELINES) and "PCA" not in kind else 3)
    expected = detection_table.tabulate_scores(scores, plan.panel, "time").set_index("time")
    expected = expected[expected["score"].notna()]
    # A follower that starts one window earlier has the same windows from the first step of the test span on.
    table = readings().drop(index=HOLE).iloc[start - LOOKBACK : end].drop(columns="anomaly")
    starts = [k for k, step in enumerate(table.index) if step in one_by_one or step - 1 in one_by_one]
    parts = [table.iloc[first:stop] for first, stop in itertools.pairwise([0, *starts, len(table)])]
    found = recorded(tmp_path, detector, parts)
    found = found[found.index >= expected.index[0]]
    assert found.index.equals(expected.index)
    for column in ("score", "threshold", "anomaly"):
        np.testing.assert_allclose(found[column], expected[column].astype(float), rtol=1e-6)


def test_a_step_that_lacks_a_sensor_waits_until_the_sensor_or_a_whole_window_has_come(plan, detectors, tmp_path):
    """The sensors have files of their own; one of them is late, and falls silent in the end."""
    detector, table = detectors["sub-window PCA"], readings(60).drop(columns="anomaly")
    flow, heat = table[["time", "flow"]], table[["time", "heat"]].head(40)
    expected = detector.predict(table.assign(heat=table["heat"].where(table.index < 40)), {"wait": 3})
    parts = [part for k in range(0, 60, 5) for part in (flow[k : k + 5], heat[k : k + 5]) if len(part)]
    np.testing.assert_allclose(recorded(tmp_path, detector, parts)["score"], expected["score"], rtol=1e-6)


def test_a_late_file_of_a_sensor_is_read_within_a_poll(detectors, tmp_path):
    detector, table = detectors["z-score"], readings(60).drop(columns="anomaly")
    feed = tmp_path / "feed"
    feed.mkdir()
    put(feed, "flow.csv", table[["time", "flow"]])
    put(feed, "heat.csv", table[["time", "heat"]].head(50))
    model, said = followed_model.FollowedModel("plant", "1", detector, 0), []
    source = FolderFeed(feed, RowFormat.of_model(detector.preprocessing))
    with contextlib.closing(Ledger(tmp_path / "record.sqlite", "plant", "min")) as ledger:
        follow.poll_once(source, ledger, model, channels={}, tell=said.append)
        assert ledger.first_unscored() == pd.Timestamp("2024-01-01 00:54")  # heat may have a reading of it yet
    assert "a sensor has sent nothing for 6 steps: without it 4 steps scored" in said[-1]
    scores = pd.DataFrame(rows(tmp_path / "record.sqlite", "SELECT score FROM steps WHERE score IS NOT NULL"))[0]
    expected = detector.predict(table.assign(heat=table["heat"].where(table.index < 50)))["score"][:54]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_without_a_wait_a_follower_records_the_scores_at_once(plan, detectors, tmp_path):
    detector, (start, end) = detectors["both"], plan.dataset.spans["test"]
    at_once = detection_results.detector_scores(detector, plan.dataset).at_once
    score = at_once.contributions.mean(axis=1)
    table = readings().drop(index=HOLE).iloc[start - LOOKBACK : end].drop(columns="anomaly")
    found = recorded(tmp_path, detector, [table], wait=0)["score"]
    np.testing.assert_allclose(found.iloc[-100:], score[np.isfinite(score)][-100:], rtol=1e-6)
    assert set(at_once.thresholds) == {detector.online[0].threshold} != {detector.threshold}


def test_metrics_are_of_online_scores_and_hindsight_is_named(plan, detectors):
    detector = detectors["reconstruction"]
    scores = detection_results.detector_scores(detector, plan.dataset)
    measures = detection_table.measure_scores(scores, plan.panel, steps_per_day=1440, anomaly=plan.dataset.anomaly)
    labels = plan.panel.labels[slice(*plan.dataset.spans["test"])]
    flags, delays = scores.online.contributions.mean(axis=1) > scores.online.thresholds, []
    for begin, _ in events.spans(labels):
        flagged = begin + int(np.argmax(flags[begin:]))
        delays.append(scores.online.known_at[flagged] - begin)
    assert measures["delay_steps"] == np.mean(delays) >= measures["wait_steps"] == 3
    assert measures["hindsight_delay_steps"] < measures["delay_steps"]
    for name in ("auc_pr", "event_f1", "vus_pr", "false_alarms_per_day"):
        assert {name, f"at_once_{name}", f"hindsight_{name}"} <= measures.keys()
    assert measures["hindsight_auc_pr"] != measures["auc_pr"] != measures["at_once_auc_pr"]


def test_records_of_the_former_version_are_compared_in_hindsight():
    new = {"wait_steps": 3.0, "auc_pr": 0.4, "hindsight_auc_pr": 0.8, "at_once_auc_pr": 0.3}
    assert detection_table.like_with_like({"a": new, "b": new}) == {"a": new, "b": new}
    assert detection_table.like_with_like({"a": {"mase": 1.0}}) == {"a": {"mase": 1.0}}
    mixed = detection_table.like_with_like({"a": new, "b": {"auc_pr": 0.7}})
    assert mixed == {"a": {"auc_pr": 0.8}, "b": {"auc_pr": 0.7}}


@pytest.mark.parametrize("name", ["PCA", "sub-window PCA", "isolation forest"])
def test_baselines_are_evaluated_from_what_was_known_too(plan, name):
    """Other readings from a step on change no score that is known before."""
    dataset, (start, _) = plan.dataset, plan.dataset.spans["test"]
    changed = start + 60
    target = dataset.target.copy()
    target[:, changed:] += 5
    others = replace(dataset, target=target)
    before, after = (calibration.simple_detector_scores(name, one) for one in (dataset, others))
    for view in ("online", "at_once"):
        one, other = getattr(before, view), getattr(after, view)
        is_known = one.known_at < changed - start
        np.testing.assert_allclose(other.contributions[is_known], one.contributions[is_known], rtol=1e-9)
        assert is_known.sum() == 60 - (before.wait if view == "online" else 0)
        assert not np.allclose(other.contributions[~is_known], one.contributions[~is_known], equal_nan=True)
    assert before.wait == (3 if "PCA" in name else 0)
