"""Simple detectors as models: what is fitted once is carried as arrays and scores as the fit does, live too."""

import contextlib
import json
import sys

import numpy as np
import pandas as pd
import pytest

from gridcast.evaluation import detection_results, thresholds
from gridcast.models.baselines.detectors import DETECTOR_BASELINES
from gridcast.runtime import combined_scores, loading, simple_detectors
from gridcast.runtime.errors import DataError
from gridcast.runtime.events import anomaly_score
from gridcast.runtime.model_files import TRAINING_SERIES
from gridcast.serving.models import compiled_network, detector_adapter
from gridcast.training import calibration
from small_experiments import readings, watched

LOOKBACK = 6
FRAME = readings().drop(index=range(405, 409))
FRAME.loc[440:442, "flow"] = np.nan
EACH = pytest.mark.parametrize("name", DETECTOR_BASELINES)
WAIT = {"PCA": 3, "sub-window PCA": 3}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    anomaly = {"threshold": "quantile", "level": 0.02}
    return watched(tmp_path_factory.mktemp("simple"), FRAME, anomaly=anomaly).dataset


@pytest.fixture(scope="module")
def results(dataset):
    return {name: calibration.fit_simple_detector(dataset, name) for name in DETECTOR_BASELINES}


@pytest.fixture
def no_learners(monkeypatch):
    """Neither Keras nor scikit-learn can be imported."""
    for package in ("keras", "sklearn", "sklearn.decomposition", "sklearn.ensemble"):
        monkeypatch.setitem(sys.modules, package, None)


def fitted_scores(name, dataset, values, wait):
    """The scores (steps,) of `values` by a fit of its own, without a detector."""
    state = DETECTOR_BASELINES[name](dataset.channels[0, : dataset.spans.train], lookback=LOOKBACK, seed=0)
    (found,) = simple_detectors.contributions_after(name, state, values, LOOKBACK, (wait,))
    return anomaly_score(found)


@EACH
@pytest.mark.usefixtures("no_learners")
def test_a_model_needs_neither_the_fit_nor_its_library(name, dataset, results):
    loaded = loading.load_from_bytes(results[name].files)
    assert (loaded.kind, loaded.lookback, loading.kind_of(loaded)) == (name, LOOKBACK, "detector")
    content = json.loads(results[name].files["forecaster.json"])
    assert json.dumps(loaded.to_json() | {TRAINING_SERIES: content[TRAINING_SERIES]}) == json.dumps(content)
    assert sorted(results[name].files) == ["baseline.npz", "forecaster.json"]
    answer = loaded.predict(FRAME)
    np.testing.assert_array_equal(answer["score"], anomaly_score(loaded.contributions(dataset.channels[0])))


@EACH
def test_scores_thresholds_and_metrics_are_those_of_the_comparison(name, dataset, results):
    loaded = loading.load_from_bytes(results[name].files)
    scores = detection_results.detector_scores(loaded, dataset)
    assert scores.wait == loaded.wait == WAIT.get(name, 0)
    values, (start, end) = dataset.channels[0], dataset.spans["test"]
    views = {"online": scores.wait, "at_once": 0, "hindsight": None}
    for view, wait in views.items():
        own, recorded = (getattr(one, view) for one in (scores, calibration.simple_detector_scores(name, dataset)))
        expected = fitted_scores(name, dataset, values[start - LOOKBACK : end], wait)[LOOKBACK:]
        np.testing.assert_array_equal(anomaly_score(own.contributions), expected)
        before = fitted_scores(name, dataset, values[: dataset.spans.validation], wait)
        assert set(own.thresholds) == {thresholds.fit_threshold(before, "quantile", 0.02)}
        np.testing.assert_array_equal(own.contributions, recorded.contributions)
        np.testing.assert_array_equal(own.known_at, recorded.known_at)
    measured = results[name].metrics
    assert measured["threshold"] == loaded.threshold
    assert 0 <= measured["val_online_faults_missed"] < 0.9
    assert {"val_faults_missed", "val_online_false_alarms_per_day", "fit_seconds", "parameters"} <= measured.keys()
    assert "best_val_loss" not in measured


@EACH
@pytest.mark.parametrize("wait", [0, 3])
def test_a_score_after_a_wait_is_the_one_of_a_whole_table(name, wait, dataset, results):
    loaded = loading.load_from_bytes(results[name].files)
    values = dataset.channels[0, 380:450]
    (whole,) = loaded.contributions_after(values, (wait,))
    for step in (0, *range(10, len(values) - wait, 7), 25, 61):
        newest = max(step + wait, loaded.settling)
        (found,) = loaded.contributions_after(values[: newest + 1], (wait,))
        np.testing.assert_allclose(found[step], whole[step], rtol=1e-5)
    assert np.isfinite(whole[10:25]).all()


@EACH
def test_a_table_with_a_gap_is_scored_by_what_was_read(name, results):
    answer = loading.load_from_bytes(results[name].files).predict(FRAME)
    assert len(answer) == 480
    is_scored = answer["score"].notna()
    assert not is_scored[405:409].any()
    assert is_scored[LOOKBACK:405].all()
    assert is_scored[412:].all()  # the median of the steps before needs half of them
    lacking = answer.loc[440:442]
    assert lacking["flow"].isna().all()
    np.testing.assert_array_equal(lacking["score"], lacking["heat"])
    assert answer.loc[440:442, "heat"].notna().all()
    assert answer["anomaly"].any()


@EACH
def test_the_shortest_table_has_a_score(name, results):
    loaded = loading.load_from_bytes(results[name].files)
    assert loaded.predict(FRAME.head(loaded.min_table_steps))["score"].notna().any()
    if loaded.min_table_steps > 1:
        with pytest.raises(DataError, match=f"the model reads {loaded.min_table_steps}$"):
            loaded.predict(FRAME.head(loaded.min_table_steps - 1))


@EACH
def test_the_wildest_reading_has_the_highest_score_and_it_is_finite(name, results):
    loaded = loading.load_from_bytes(results[name].files)
    answer = loaded.predict(FRAME.assign(flow=FRAME["flow"].mask(FRAME.index == 200, 1e300)))
    assert np.isfinite(answer["score"].drop(range(405, 412))[LOOKBACK:]).all()
    assert answer["score"][200] >= answer["score"].quantile(0.95)  # a forest cannot tell it from others far outside
    assert answer["anomaly"][200]


def test_a_follower_waits_for_a_sensor_that_may_still_come():
    values = np.zeros((40, 2))
    values[10, 0] = values[12:14, 1] = values[20:22] = values[30:, 1] = np.nan
    known = simple_detectors.known_steps("z-score", values, LOOKBACK, 0)
    assert known[[9, 10, 11, 12, 13, 14, 20]].tolist() == [9, 11, 11, 14, 14, 14, 20]
    assert known[29:32].tolist() == [29, 36, 37]
    assert simple_detectors.known_steps("PCA", values, LOOKBACK, 3)[[0, 3, 9, 17]].tolist() == [5, 6, 14, 20]


def test_what_members_lack_is_left_to_the_others():
    one = np.array([[2.0, np.nan, 4.0], [3.0, 3.0, np.nan]])
    other = np.array([[8.0, 8.0, np.nan], [np.nan] * 3])
    found = combined_scores.combine([one, other], [1.0, 2.0], minimum=False)
    assert anomaly_score(found)[0] == pytest.approx(np.sqrt(3 * 4))
    np.testing.assert_allclose(found[0] / found[0, 0], [1, 0.6, 0.8])  # shares of 5/6, 1/2 and 2/3
    assert np.isnan(found[1]).all()


@pytest.fixture(scope="module")
def network(dataset, jax_backend):
    """The model files of an untrained network that reconstructs windows."""
    from gridcast.config import Configuration
    from gridcast.models import autoencoder
    from gridcast.training import finished_run

    settings = Configuration(layer="GRU", units=3, latent=2, detector="reconstruction", lookback=LOOKBACK)
    built = autoencoder.build_autoencoder(settings, autoencoder.AutoencoderShape(LOOKBACK, 2), 1, portable=True)
    made = calibration.calibrate_detector(dataset, settings, built)[1]
    return {"model.keras": finished_run._saved_network(built), "forecaster.json": json.dumps(made.to_json()).encode()}


@pytest.fixture(scope="module")
def ensemble(dataset, network, results):
    """The ensemble of that network and sub-window PCA, calibrated."""
    simple = results["sub-window PCA"].files
    settings = json.loads(network["forecaster.json"])
    settings["detector"] |= {"kind": "ensemble", "usual": [], "combine": "mean", "online": []}
    members = {"members": [["member-0.json", "member-0.keras"], ["member-1.json", "member-1.npz"]], "weights": None}
    files = {
        "members.json": json.dumps(members).encode(),
        "forecaster.json": json.dumps(settings).encode(),
        "member-0.json": network["forecaster.json"],
        "member-0.keras": network["model.keras"],
        "member-1.json": simple["forecaster.json"],
        "member-1.npz": simple["baseline.npz"],
    }
    return loading.load_from_bytes(calibration.calibrate_ensemble(dataset, files).files)


def test_an_ensemble_combines_a_network_with_a_simple_detector(dataset, ensemble):
    assert [one.kind for one in ensemble.members] == ["reconstruction", "sub-window PCA"]
    assert (ensemble.wait, ensemble.settling, [one.wait for one in ensemble.online]) == (3, 5, [0, 3])
    values = dataset.channels[0]
    for wait in (None, 0, 3):
        each = [anomaly_score(one.contributions_after(values, (wait,))[0]) for one in ensemble.members]
        ratios = [
            score / one.threshold_after(wait).threshold for score, one in zip(each, ensemble.members, strict=True)
        ]
        (found,) = ensemble.contributions_after(values, (wait,))
        np.testing.assert_allclose(anomaly_score(found), np.sqrt(ratios[0] * ratios[1]), rtol=1e-5)
    assert np.isnan(found[442]).all()  # the network does not score it


@pytest.mark.parametrize("name", [*DETECTOR_BASELINES, "ensemble"])
def test_the_service_answers_each_table_as_if_it_were_alone(name, dataset, results, ensemble):
    carried = ensemble if name == "ensemble" else loading.load_from_bytes(results[name].files)
    adapted = detector_adapter.adapt(carried)
    if name != "ensemble":
        assert compiled_network.compile_detector(adapted) is adapted
    tables = [dataset.channels[0, :50], dataset.channels[0, 395:450]]
    for found, table in zip(detector_adapter.batch_contributions(adapted, tables), tables, strict=True):
        np.testing.assert_allclose(found, carried.contributions(table), rtol=1e-5)
    sample = detector_adapter.sample_table(adapted)
    np.testing.assert_allclose(adapted.predict(sample)["score"], carried.predict(sample)["score"])


def test_mlflow_loads_it_with_the_code_that_it_carries(results, tmp_path):
    from mlflow import models, pyfunc

    from gridcast.tracking import model_flavor

    saved, files = models.Model(), results["isolation forest"].files
    model_flavor.save_model(str(tmp_path / "model"), saved, files=files, backend="jax")
    assert list(saved.flavors) == ["python_function"]
    with contextlib.chdir(tmp_path):
        loaded = pyfunc.load_model("model", suppress_warnings=True)
    expected = loading.load_from_bytes(files).predict(FRAME)
    pd.testing.assert_frame_equal(loaded.predict(FRAME.drop(columns="anomaly")), expected)


def test_a_recomputed_threshold_is_of_the_detectors_own_scores(results):
    from gridcast.monitoring import normal_operation
    from gridcast.monitoring.new_threshold import new_threshold

    for name, waits in {"z-score": [], "sub-window PCA": [0, 3]}.items():
        own = loading.load_from_bytes(results[name].files)
        frame = FRAME.head(400).drop(columns="anomaly").assign(time=pd.to_datetime(FRAME["time"]))
        found = new_threshold(own, normal_operation.score_readings(own, frame, None))
        scores = own.predict(frame, {"wait": own.wait})["score"].dropna().to_numpy()
        assert found.new == thresholds.fit_threshold(scores[: found.fitted], "quantile", 0.02)
        assert [one.wait for one in found.online] == waits
        assert found.old == own.threshold_after(own.wait).threshold
