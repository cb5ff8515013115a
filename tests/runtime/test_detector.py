"""The deployable whole: scores by hand, and what becomes of tables that are not as in training."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gridcast.runtime.detector import MAX_SCALED_VALUE, scaled_values
from gridcast.runtime.errors import DataError
from gridcast.runtime.scaling import Scaler
from gridcast.runtime.windows import typical_spreads
from gridcast.training import whitening
from small_experiments import readings, watched

pytestmark = pytest.mark.usefixtures("jax_backend")

FRAME = readings()
KINDS = ("reconstruction", "prediction", "both", "encoding")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return watched(tmp_path_factory.mktemp("detector"), FRAME.assign(still=7.0)).dataset


@pytest.fixture(scope="module")
def made(dataset):
    """An untrained detector of each kind, whose threshold all scores of its training lie below.

    One that does both stands there as `centred` too: it reads each window around its mean; as `standard` in units of
    its spread too.
    """
    from gridcast.config import Configuration
    from gridcast.models import autoencoder
    from gridcast.runtime.detector import Detector

    def build(kind, **how):
        settings = Configuration(layer="GRU", units=3, latent=2, detector=kind, lookback=6)
        network = autoencoder.build_autoencoder(settings, autoencoder.AutoencoderShape(6, 3), 1, portable=True)
        own = Detector(replace(dataset.preprocessing, **how), network, kind, np.inf, "quantile", 0.001, ())
        own = replace(own, usual=whitening.error_statistics(own, dataset.channels[0, :280]))
        return replace(own, threshold=float(np.nanmax(own.contributions(dataset.channels[0, :280]).mean(axis=1))))

    spreads = typical_spreads(dataset.channels[0, :280], 6)
    how = {"centred": {"centred": True}, "standard": {"centred": True, "window_spreads": spreads}}
    return {kind: build(kind) for kind in KINDS} | {name: build("both", **own) for name, own in how.items()}


def squares(own, vector):
    """Squared Mahalanobis distance over the dimensions, from the mean and what the whitening says of the covariance."""
    away = vector - own.mean
    return float(away @ own.whitening.T @ own.whitening @ away) / len(away)


def by_hand(detector, values):
    """Contributions, window by window and step by step."""
    import keras

    network, lookback = detector.network, detector.lookback
    encoder = keras.Model(network.inputs, network.get_layer("latent").output)
    *each, beside, encoded = detector.usual
    found = [[] for _ in values]
    for end in range(lookback, len(values) + (detector.kind == "reconstruction")):
        steps = np.array([end + offset for offset in detector.offsets])
        window = values[end - lookback : end]
        if not np.isfinite(window).all() or not np.isfinite(values[steps]).all():
            continue
        level, unit = window.mean(axis=0) if detector.preprocessing.centred else 0.0, 1.0
        if len(usual := detector.preprocessing.window_spreads):
            unit = np.hypot(window.std(axis=0), usual)
        error = network.predict_on_batch({"history": ((window - level) / unit)[None]})[0]
        error = error - (values[steps] - level) / unit
        apart = np.stack([own.whitening @ (error[:, k] - own.mean) for k, own in enumerate(each)], axis=1)
        both = np.array([beside.whitening @ (row - beside.mean) for row in apart])
        share = np.mean(np.square(apart if detector.kind == "encoding" else both), axis=0)
        if detector.kind == "encoding":
            share = np.log1p(share)
            share = share + share / share.mean() * squares(encoded, encoder.predict_on_batch(window[None])[0])
        for step in steps:
            found[step].append(share)
    return np.array([np.mean(shares, axis=0) if shares else np.full(values.shape[1], np.nan) for shares in found])


@pytest.mark.parametrize("kind", [*KINDS, "centred", "standard"])
def test_contributions_are_whitened_squares_averaged_over_the_windows_that_answer_for_a_step(
    dataset, made, kind, monkeypatch
):
    monkeypatch.setattr("gridcast.runtime.detector.WINDOWS_PER_BATCH", 10)
    values = dataset.channels[0, :40].copy()
    values[17, 1] = np.nan
    found = made[kind].contributions(values)
    np.testing.assert_allclose(found, by_hand(made[kind], values), rtol=1e-3, atol=1e-5)
    assert np.isnan(found[17]).all()
    assert np.isfinite(found[16]).all()
    assert np.isfinite(found[18]).all() == (kind != "prediction")


def test_a_table_is_scored_as_the_mean_of_what_its_sensors_contribute(dataset, made):
    answer = made["both"].predict(FRAME.assign(still=7.0))
    assert list(answer) == ["time", "score", "threshold", "anomaly", "flow", "heat", "still"]
    np.testing.assert_array_equal(answer["time"], dataset.times)
    np.testing.assert_allclose(answer["score"], answer[["flow", "heat", "still"]].mean(axis=1))
    np.testing.assert_array_equal(answer["anomaly"], answer["score"] > answer["threshold"])
    np.testing.assert_allclose(
        answer[["flow", "heat", "still"]], made["both"].contributions(dataset.channels[0]), rtol=1e-5
    )
    ahead = made["prediction"].predict(FRAME.assign(still=7.0))
    assert np.flatnonzero(ahead["score"].isna()).tolist() == [0, 1, 2, 3, 4, 5]  # before the first window ends
    assert not ahead["anomaly"][:6].any()


def followed(detector, values, wait):
    """Contributions as a live stream gives them, and when: each step is scored once, as soon as that is possible."""
    found, known_at = np.full(values.shape, np.nan), np.full(len(values), -1)
    for newest in range(detector.min_table_steps - 1, len(values)):
        now = detector.contributions(values[: newest + 1])
        due = np.isfinite(now).all(axis=1) & (known_at[: newest + 1] < 0)
        due &= np.arange(newest + 1) <= newest - wait
        found[: newest + 1][due], known_at[: newest + 1][due] = now[due], newest
    return found, known_at


def ensemble_of(*members, combine="mean"):
    longest = max(members, key=lambda member: member.lookback)
    return replace(longest, kind="ensemble", network=None, usual=(), members=members, combine=combine)


@pytest.fixture(scope="module")
def short(dataset):
    """An untrained detector with windows of three steps."""
    from gridcast.config import Configuration
    from gridcast.models import autoencoder
    from gridcast.runtime.detector import Detector

    settings = Configuration(layer="GRU", units=3, latent=2, detector="reconstruction", lookback=3)
    network = autoencoder.build_autoencoder(settings, autoencoder.AutoencoderShape(3, 3), 2, portable=True)
    own = Detector(replace(dataset.preprocessing, lookback=3), network, "reconstruction", 2.0, "quantile", 0.001, ())
    return replace(own, usual=whitening.error_statistics(own, dataset.channels[0, :280]))


@pytest.mark.parametrize("wait", [0, 2, 3, 9])
@pytest.mark.parametrize("kind", [*KINDS, "ensemble", "minimum"])
def test_online_scores_are_those_that_were_known_at_the_time(dataset, made, short, kind, wait):
    members = {"ensemble": (made["both"], short, made["prediction"]), "minimum": (made["encoding"], short)}
    detector = (
        made[kind] if kind in made else ensemble_of(*members[kind], combine="mean" if kind == "ensemble" else kind)
    )
    values = dataset.channels[0, :50].copy()
    values[[17, 18], 1] = np.nan
    expected, known_at = followed(detector, values, wait)
    (found,) = detector.contributions_after(values, (wait,))
    is_due = known_at >= 0  # the last steps still wait
    assert is_due.sum() > 25
    np.testing.assert_allclose(found[is_due], expected[is_due], rtol=1e-5)
    np.testing.assert_array_equal(detector.known_at(values, wait)[is_due], known_at[is_due])
    hindsight = detector.contributions(values)
    assert np.allclose(found[is_due], hindsight[is_due], rtol=1e-4) == (wait >= detector.settling)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(hindsight))  # in the end the same steps are scored


def test_thresholds_belong_to_the_wait_of_their_scores(made):
    from gridcast.runtime.online import OnlineThreshold

    own = replace(made["both"], threshold=4.0, online=(OnlineThreshold(0, 9.0), OnlineThreshold(3, 6.0)))
    assert (own.wait, own.settling, made["prediction"].settling) == (3, 6, 0)
    both, predictions = ensemble_of(own, made["prediction"]), ensemble_of(made["prediction"], made["prediction"])
    assert (both.wait, both.settling, predictions.wait) == (3, 6, 0)  # a prediction has nothing to wait for
    limits = {wait: own.threshold_after(wait).threshold for wait in (0, 2, 3, 5, 6, 9, None)}
    assert limits == {0: 9.0, 2: 9.0, 3: 6.0, 5: 6.0, 6: 4.0, 9: 4.0, None: 4.0}
    assert replace(own, online=()).threshold_after(0).threshold == 4.0  # made before there were such thresholds
    table = FRAME.assign(still=7.0).tail(60)
    scores = {wait: own.predict(table, {} if wait is None else {"wait": wait}) for wait in (None, 0, 3, 6)}
    assert [set(answer["threshold"]) for answer in scores.values()] == [{4.0}, {9.0}, {6.0}, {4.0}]
    pd.testing.assert_frame_equal(scores[None], scores[6])
    assert not np.allclose(scores[None]["score"], scores[0]["score"], rtol=0.01)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda table: table.drop(columns="heat").assign(heal=1.0), "no column 'heat'; did you mean 'heal'?"),
        (lambda table: pd.concat([table, table.tail(1)]), "row 480: 2024-01-01 07:59:00 occurs twice"),
        (lambda table: table.head(5), "the table has 5 steps; the model reads 7"),
        (lambda table: table.assign(heat="warm"), "column 'heat', row 0: "),
        (lambda table: table.assign(flow=np.inf), "column 'flow': infinite value at 2024-01-01 00:00:00"),
        (lambda table: table.assign(time=table["time"] + ":30"), None),
        (lambda table: table.assign(time=[*table["time"][:-1], "2024-01-01 07:59:30"]), "is off the axis of frequency"),
        (lambda table: table.assign(time="soon"), "column 'time', row 0: 'soon' is not a date"),
    ],
)
def test_a_table_that_cannot_be_scored_is_refused_and_told_why(made, change, told):
    table = change(FRAME.assign(still=7.0))
    if told is None:  # half a minute later, all of it: an axis of its own
        assert len(made["both"].predict(table)) == 480
        return
    with pytest.raises(DataError) as caught:
        made["both"].predict(table)
    assert told in str(caught.value)


def test_steps_near_missing_ones_are_not_scored_and_all_others_are_and_no_event_goes_across(made):
    from gridcast.runtime import events

    table = FRAME.assign(still=7.0)
    table.loc[100:110, "heat"] = np.nan
    table = table.drop(index=range(200, 204))
    answer = made["reconstruction"].predict(table)
    assert len(answer) == 480
    assert np.flatnonzero(answer["score"].isna()).tolist() == [*range(100, 111), *range(200, 204)]
    assert events.spans(answer["score"].to_numpy() >= 0).tolist() == [[0, 100], [111, 200], [204, 480]]
    assert made["reconstruction"].predict(table.assign(flow=np.nan))["score"].isna().all()


def test_around_their_means_windows_tell_of_a_change_of_level_and_of_no_level(dataset, made):
    values = dataset.channels[0, :80]
    higher, risen = values + np.float32(50), values.copy()
    risen[40:, 1] += 50
    for kind in ("both", "centred"):
        was, there, on_the_way = (made[kind].contributions(one).mean(axis=1) for one in (values, higher, risen))
        assert np.allclose(there, was, rtol=1e-3) == (kind == "centred")
        assert (on_the_way[36:44] > 10 * was[36:44]).all()
        assert np.allclose(on_the_way[50:], was[50:], rtol=1e-3) == (kind == "centred")


def test_in_units_of_their_spread_windows_tell_of_a_jump_and_of_no_unrest(dataset, made):
    restless = dataset.channels[0, :80] * np.float32(100)
    jumping = restless.copy()
    jumping[40:, 1] += 20 * restless[:, 1].std()
    for kind in ("both", "standard"):
        was, twice, jumped = (made[kind].contributions(one).mean(axis=1) for one in (restless, 2 * restless, jumping))
        assert np.allclose(twice, was, rtol=0.01) == (kind == "standard")
        assert (jumped[38:42] > 1.5 * was[38:42]).all()


def test_a_column_that_was_not_in_training_is_passed_over(made):
    table = FRAME.assign(still=7.0)
    pd.testing.assert_frame_equal(
        made["both"].predict(table), made["both"].predict(table.assign(draught=np.arange(480.0)))
    )


def test_a_sensor_whose_unit_changed_is_told_of_and_blamed(made, caplog):
    with caplog.at_level(logging.WARNING, "gridcast"):
        made["both"].predict(FRAME.assign(still=7.0))
        assert not caplog.records
        answer = made["both"].predict(FRAME.assign(still=7.0, heat=1000 * FRAME["heat"]))
    assert "sensor 'heat': half of its values lie more than" in caplog.text
    assert answer["anomaly"].all()
    assert (answer[["flow", "heat", "still"]].idxmax(axis=1) == "heat").all()


def test_a_sensor_that_was_constant_in_training_may_not_move(made):
    answer = made["prediction"].predict(FRAME.assign(still=np.where(np.arange(480) == 300, 17.0, 7.0)))
    moved = answer[answer["time"] == pd.DatetimeIndex(FRAME["time"])[300]].iloc[0]
    calm = answer[answer["time"] == pd.DatetimeIndex(FRAME["time"])[200]].iloc[0]
    assert moved["still"] > 100 * calm["still"]
    assert moved["anomaly"]


@pytest.mark.parametrize("kind", ["both", "standard"])
def test_a_detector_comes_back_from_its_files(made, dataset, tmp_path, kind):
    import json

    from gridcast.runtime import loading
    from gridcast.runtime.model_files import NETWORK_FILE, SETTINGS_FILE
    from gridcast.runtime.online import OnlineThreshold
    from gridcast.runtime.running_threshold import ScoreHistory

    thresholds = OnlineThreshold(0, 9.0), OnlineThreshold(3, 6.0, ScoreHistory(10, 1.0, 2.0))
    own = replace(made[kind], least=3, gap=2, online=thresholds)
    own.network.save(tmp_path / NETWORK_FILE)
    (tmp_path / SETTINGS_FILE).write_text(json.dumps(own.to_json()))
    again = loading.load(tmp_path)
    assert replace(again, network=None, preprocessing=None) == replace(own, network=None, preprocessing=None)
    assert (again.sensors, again.time, again.frequency, again.lookback) == (("flow", "heat", "still"), "time", "min", 6)
    table = FRAME.assign(still=7.0).tail(20)
    pd.testing.assert_frame_equal(again.predict(table), own.predict(table))


def test_a_running_threshold_comes_back_and_goes_on_from_training(made, dataset, tmp_path):
    import json

    from gridcast.evaluation import thresholds
    from gridcast.runtime import loading, running_threshold
    from gridcast.runtime.model_files import NETWORK_FILE, SETTINGS_FILE

    scores = made["both"].contributions(dataset.channels[0, :280]).mean(axis=1)
    first, seen = thresholds.fit_threshold_with_history(scores, "running", 2.0)
    own = replace(made["both"], threshold=first, rule="running", level=2.0, seen=seen)
    own.network.save(tmp_path / NETWORK_FILE)
    (tmp_path / SETTINGS_FILE).write_text(json.dumps(own.to_json()))
    told = loading.load(tmp_path).predict(FRAME.assign(still=7.0).tail(60))
    expected, _ = running_threshold.thresholds_and_history(told["score"].to_numpy(), 2.0, seen)
    np.testing.assert_allclose(told["threshold"], expected)
    np.testing.assert_array_equal(told["anomaly"], told["score"] > expected)
    assert told["threshold"].iloc[0] == pytest.approx(first)
    assert told["threshold"].nunique() > 10


def test_whitening_is_undone_by_the_covariance():
    axis = np.tile([[8.0, 1.0], [2.0, -1.0], [4.0, 2.0], [6.0, -2.0]], (2500, 1))
    own = whitening.fit_whitening(axis)  # variances 5 and 2.5, covariance 0.5
    np.testing.assert_allclose(own.mean, [5.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(np.linalg.inv(own.whitening.T @ own.whitening), [[5.0, 0.5], [0.5, 2.5]], rtol=1e-2)
    white = own.whiten(axis)
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(2), atol=0.01)
    assert (np.diag(own.whitening) > 3 * np.abs(own.whitening[[0, 1], [1, 0]])).all()  # each stays what it was
    few = whitening.fit_whitening(axis[:3])  # fewer than a covariance can be had from
    assert np.isfinite(few.whitening).all()
    still = whitening.fit_whitening(np.full((9, 2), 7.0))
    np.testing.assert_allclose(still.whiten(np.array([7.0, 7.001])), [0.0, 1.0], atol=1e-9)  # in thousandths


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_told_in_units_of_those_that_training_had(made, dataset, kind):
    own, training = made[kind], dataset.channels[0, :280]
    _, errors, latent = map(np.concatenate, zip(*own.errors(training, own.window_ends(training)), strict=True))
    windows = 280 - own.min_table_steps + 1
    assert (errors.shape, latent.shape) == ((windows, len(own.offsets), 3), (windows, 2))
    np.testing.assert_allclose(own.usual[0].mean, errors[:, :, 0].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(own.usual[-1].mean, latent.mean(axis=0), atol=1e-5)
    score = own.contributions(training).mean(axis=1)
    low, high = (0.7, 1.3) if kind != "encoding" else (1.0, 2.0)
    assert low < np.nanmean(score) < high


def test_a_reading_beyond_all_numbers_of_single_precision_is_an_alarm(made):
    wild = FRAME.assign(still=7.0).tail(40).reset_index(drop=True)
    wild.loc[20, "flow"] = 1e25
    for detector in made.values():
        told = detector.predict(wild).set_index("time")
        assert told.loc[wild["time"][20], "anomaly"]


def test_what_is_usual_is_of_all_before_the_test_but_a_conformal_threshold_keeps_the_validation_span(dataset, made):
    from gridcast.config import Configuration
    from gridcast.training import calibration

    settings = Configuration(layer="GRU", units=3, latent=2, detector="both", lookback=6)
    spans, values = dataset.spans, dataset.channels[0]
    for rule, end in (("mean-std", spans.validation), ("conformal", spans.train)):
        asked = replace(dataset, anomaly=dataset.anomaly.model_copy(update={"threshold": rule, "level": None}))
        _, own = calibration.calibrate_detector(asked, settings, made["both"].network)
        expected = whitening.error_statistics(replace(own, usual=()), values[:end])
        for found, wanted in zip(own.usual, expected, strict=True):
            np.testing.assert_allclose(found.whitening, wanted.whitening)


@pytest.mark.parametrize("combine", ["mean", "minimum"])
def test_an_ensemble_combines_the_scores_of_its_members_in_units_of_their_thresholds(made, dataset, combine):
    members = made["both"], made["encoding"], made["prediction"]
    whole = replace(made["both"], kind="ensemble", network=None, usual=(), members=members, combine=combine)
    assert (whole.ahead, whole.min_table_steps) == (1, 7)
    values = dataset.channels[0, :60]
    each = [member.contributions(values) for member in members]
    scores = [found.mean(axis=1) for found in each]
    ratios = np.array([own / one.threshold for own, one in zip(scores, members, strict=True)])
    expected = np.prod(ratios, axis=0) ** (1 / 3) if combine == "mean" else ratios.min(axis=0)
    found = whole.contributions(values)
    np.testing.assert_allclose(found.mean(axis=1), expected, rtol=1e-6)
    assert np.flatnonzero(np.isnan(found).all(axis=1)).tolist() == [0, 1, 2, 3, 4, 5]  # the prediction cannot tell
    shares = np.mean([own / own.sum(axis=1, keepdims=True) for own in each], axis=0)
    np.testing.assert_allclose(found / found.sum(axis=1, keepdims=True), shares, rtol=1e-6)


def test_a_value_that_log1p_cannot_read_is_scored_as_far_from_normal_and_a_missing_one_is_not():
    scaler = Scaler(np.zeros(2), np.ones(2), log1p=True)
    values = np.array([[0.0, -3.0], [np.nan, -1.0], [np.e - 1, 2.0]])
    scaled = scaled_values(SimpleNamespace(target_scaler=scaler), values)
    lowest = np.float32(-MAX_SCALED_VALUE)
    np.testing.assert_allclose(scaled, [[0, lowest], [np.nan, lowest], [1, np.log(3)]], rtol=1e-6)
