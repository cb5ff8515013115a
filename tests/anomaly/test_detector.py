"""The deployable whole: scores by hand, and what becomes of tables that are not as in training."""

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gridcast.errors import DataError
from samples import readings, watched

pytestmark = pytest.mark.usefixtures("jax_backend")

FRAME = readings()


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    return watched(tmp_path_factory.mktemp("detector"), FRAME.assign(still=7.0)).material


@pytest.fixture(scope="module")
def made(material):
    """An untrained detector of each kind, whose threshold all scores of its training lie below."""
    from gridcast.anomaly.detector import Detector
    from gridcast.config import Configuration
    from gridcast.models import autoencoder

    def build(kind):
        settings = Configuration(layer="GRU", units=3, latent=2, detector=kind, lookback=6)
        network = autoencoder.build(settings, autoencoder.Shape(6, 3), 1, portable=True)
        own = Detector(material.preprocessing, network, kind, np.inf, "quantile", 0.001, np.ones((1, 1)))
        own = replace(own, usual=own.usual_of(material.channels[0, :280]))
        return replace(own, threshold=float(np.nanmax(own.contributions(material.channels[0, :280]).mean(axis=1))))

    return {kind: build(kind) for kind in ("reconstruction", "prediction", "both")}


def by_hand(detector, values):
    """Contributions, window by window and step by step."""
    usual = dict(zip(detector.offsets, detector.usual, strict=True))
    lookback = detector.lookback
    rebuilt, ahead = [[] for _ in values], np.full(values.shape, np.nan)
    for end in range(lookback, len(values) + 1):
        window = values[end - lookback : end]
        if not np.isfinite(window).all():
            continue
        found = detector.network.predict_on_batch({"history": window[None]})[0]
        if detector.kind != "prediction":
            for step in range(lookback):
                rebuilt[end - lookback + step].append((found[step] - window[step]) ** 2 / usual[step - lookback])
        if detector.kind != "reconstruction" and end < len(values) and np.isfinite(values[end]).all():
            ahead[end] = (found[-1] - values[end]) ** 2 / usual[0]
    mean = np.array([np.mean(errors, axis=0) if errors else np.full(values.shape[1], np.nan) for errors in rebuilt])
    return {"reconstruction": mean, "prediction": ahead, "both": mean + ahead}[detector.kind]


@pytest.mark.parametrize("kind", ["reconstruction", "prediction", "both"])
def test_contributions_are_squared_errors_averaged_over_the_windows_that_cover_a_step(
    material, made, kind, monkeypatch
):
    monkeypatch.setattr("gridcast.anomaly.detector.CHUNK", 10)
    values = material.channels[0, :40].copy()
    values[17, 1] = np.nan
    found = made[kind].contributions(values)
    np.testing.assert_allclose(found, by_hand(made[kind], values), rtol=1e-4, atol=1e-6)
    assert np.isnan(found[17]).all()
    assert np.isfinite(found[[16, 18]]).all() == (kind == "reconstruction")


def test_a_table_is_scored_as_the_mean_of_what_its_sensors_contribute(material, made):
    answer = made["both"].predict(FRAME.assign(still=7.0))
    assert list(answer) == ["time", "score", "threshold", "anomaly", "flow", "heat", "still"]
    np.testing.assert_array_equal(answer["time"], material.times[6:])  # nothing is predicted before a window ends
    np.testing.assert_allclose(answer["score"], answer[["flow", "heat", "still"]].mean(axis=1))
    np.testing.assert_array_equal(answer["anomaly"], answer["score"] > answer["threshold"])
    whole = made["both"].contributions(material.channels[0])
    np.testing.assert_allclose(answer[["flow", "heat", "still"]], whole[6:], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda table: table.drop(columns="heat").assign(heal=1.0), "no column 'heat'; did you mean 'heal'?"),
        (lambda table: pd.concat([table, table.tail(1)]), "row 480: 2024-01-01 07:59:00 stands twice"),
        (lambda table: table.head(5), "the table has 5 steps; the model reads 7"),
        (lambda table: table.assign(heat="warm"), "column 'heat': "),
        (lambda table: table.assign(flow=np.inf), "column 'flow': infinite value at 2024-01-01 00:00:00"),
        (lambda table: table.assign(time=table["time"] + ":30"), None),
        (lambda table: table.assign(time=[*table["time"][:-1], "2024-01-01 07:59:30"]), "is off the axis of frequency"),
        (lambda table: table.assign(time="soon"), "column 'time', row 0: 'soon' is no date"),
    ],
)
def test_a_table_that_cannot_be_scored_is_refused_and_told_why(made, change, told):
    table = change(FRAME.assign(still=7.0))
    if told is None:  # half a minute later, all of it: an axis of its own
        assert len(made["both"].predict(table)) == 474
        return
    with pytest.raises(DataError) as caught:
        made["both"].predict(table)
    assert told in str(caught.value)


def test_steps_near_missing_ones_are_not_scored_and_all_others_are(made):
    table = FRAME.assign(still=7.0)
    table.loc[100:110, "heat"] = np.nan
    table = table.drop(index=range(200, 204))
    answer = made["reconstruction"].predict(table)
    left = set(pd.DatetimeIndex(FRAME["time"])) - set(answer["time"])
    assert left == {*pd.DatetimeIndex(FRAME["time"][100:111]), *pd.DatetimeIndex(FRAME["time"][200:204])}
    assert not len(made["reconstruction"].predict(table.assign(flow=np.nan)))


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


def test_a_detector_comes_back_from_its_files(made, material, tmp_path):
    import json

    from gridcast.anomaly import detector

    own = replace(made["both"], least=3, gap=2)
    own.network.save(tmp_path / detector.NETWORK)
    (tmp_path / detector.SETTINGS).write_text(json.dumps(own.to_json()))
    again = detector.load(tmp_path)
    assert replace(again, network=None, preprocessing=None) == replace(own, network=None, preprocessing=None)
    assert (again.sensors, again.time, again.frequency, again.lookback) == (("flow", "heat", "still"), "time", "min", 6)
    table = FRAME.assign(still=7.0).tail(20)
    pd.testing.assert_frame_equal(again.predict(table), own.predict(table))


def test_errors_are_told_in_units_of_those_that_training_had_at_the_same_place(made, material):
    own, training = made["both"], material.channels[0, :280]
    errors = np.concatenate([errors for _, errors in own.errors(training)])
    assert errors.shape == (275, 7, 3)  # six steps that are rebuilt, and the next one
    assert np.isnan(errors[-1, -1]).all()
    np.testing.assert_allclose(own.usual, np.nanmean(errors, axis=0), rtol=1e-4)
    assert np.nanmean(own.contributions(training)) == pytest.approx(2.0, rel=0.02)  # rebuilt 1, predicted 1


def test_a_reading_beyond_all_numbers_of_single_precision_is_an_alarm(made):
    wild = FRAME.assign(still=7.0).tail(40).reset_index(drop=True)
    wild.loc[20, "flow"] = 1e25
    for detector in made.values():
        told = detector.predict(wild).set_index("time")
        assert told.loc[wild["time"][20], "anomaly"]
