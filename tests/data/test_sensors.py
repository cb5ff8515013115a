"""Tables with a column for each sensor: read, laid on their axis, labels kept apart."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from gridcast import config
from gridcast.data import sources
from gridcast.data.table import SERIES, TARGET
from gridcast.runtime.errors import DataError
from gridcast.sweep import plan
from small_experiments import readings, watched, watching

FRAME = readings()


@pytest.fixture
def built(tmp_path):
    return lambda frame, **sections: watched(tmp_path, frame, **sections)


@pytest.fixture
def refusal(built):
    def of(frame, **sections):
        with pytest.raises(DataError) as caught:
            built(frame, **sections)
        return str(caught.value)

    return of


def test_every_column_of_numbers_but_labels_is_a_sensor_in_the_order_of_the_file(built):
    frame = FRAME.assign(zone="north", air=1.0)[["heat", "zone", "time", "flow", "anomaly", "air"]]
    found = built(frame).panel
    assert found.series == ("heat", "flow", "air")
    np.testing.assert_array_equal(found.target, frame[["heat", "flow", "air"]].T)
    np.testing.assert_array_equal(found.labels, frame["anomaly"] == 1)
    assert built(frame, data={"sensors": ["flow"]}).panel.series == ("flow",)


@pytest.mark.parametrize("has_empty", [False, True])
def test_truth_values_are_no_sensors_but_may_be_labels_or_be_named(tmp_path, has_empty):
    frame = FRAME.assign(anomaly=(FRAME["anomaly"] == 1).astype(object), pump_on=True)
    if has_empty:
        frame["pump_on"] = frame["pump_on"].astype(object)
        frame.loc[3, ["anomaly", "pump_on"]] = None
    frame.to_parquet(tmp_path / "plant.parquet")

    def load(**data):
        content = watching(str(tmp_path / "plant.parquet"), data=data)
        return sources.load_table(config.parse(yaml.safe_dump(content)).data, tmp_path)

    table = load()
    assert set(table.rows[SERIES].cat.categories) == {"flow", "heat"}
    assert table.labels.sum() == (FRAME["anomaly"] == 1).sum()
    named = load(sensors=["flow", "pump_on"]).rows
    assert (named[TARGET][named[SERIES] == "pump_on"] == 1).sum() == len(FRAME) - has_empty


def test_windows_hold_all_sensors_in_units_of_their_training_spread(built):
    dataset = built(FRAME).dataset
    values = FRAME[["flow", "heat"]].to_numpy()
    scaled = (values - values[:288].mean(axis=0)) / values[:288].std(axis=0)
    np.testing.assert_allclose(dataset.channels[0], scaled, rtol=1e-4, atol=1e-5)
    assert dataset.steps_per_day == 1440


def test_no_window_has_a_missing_step_or_reaches_from_validation_into_training(built):
    frame = FRAME.drop(index=range(50, 53))
    frame.loc[100, "heat"] = np.nan
    dataset = built(frame, grid={"lookback": [6, 9]}).dataset
    train, validation = (dataset.origins(span, 6)[:, 1] for span in ("train", "validation"))
    near = {*range(50, 59), *range(100, 107)}  # the step itself, and as the next one of a window
    assert set(train) == set(range(6, 288)) - near
    assert validation.tolist() == list(range(288 + 9, 360))
    assert len(dataset.origins("validation", 9)) == len(validation)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(dataset.channels[0]).any(axis=1)), [50, 51, 52, 100])


def test_semicolons_and_decimal_commas_are_read(tmp_path):
    known = watched(tmp_path, FRAME)
    text = FRAME.to_csv(index=False, sep=";", decimal=",")
    (tmp_path / "sensors.csv").write_text(text)
    again = plan.make_plan(config.parse(known.yaml_text), known.yaml_text, "jax")
    np.testing.assert_array_equal(again.panel.target, known.panel.target)


def test_labels_are_part_of_the_data_but_not_of_the_dataset(built):
    known, other = built(FRAME), built(FRAME.assign(anomaly=0))
    assert known.fingerprint != other.fingerprint
    for name, value in vars(known.dataset).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, getattr(other.dataset, name))
    assert "steps labelled as anomalous: train 0, validation 0, test 20; only the test uses labels" in (
        known.panel.notes
    )


def test_labelled_steps_before_the_test_span_can_be_omitted(built):
    frame = FRAME.assign(anomaly=FRAME["anomaly"] + FRAME.index.isin([*range(100, 104), 300]))
    panel = built(frame, data={"labelled": "omit"}).panel
    gaps = np.isnan(panel.target).all(axis=0)
    assert np.flatnonzero(gaps).tolist() == [100, 101, 102, 103, 300]
    np.testing.assert_array_equal(panel.observed, ~np.isnan(panel.target))
    np.testing.assert_array_equal(panel.labels, frame["anomaly"] == 1)
    assert "train 4, validation 1, test 20; those before the test are left out (labelled: omit)" in panel.notes[-1]


def test_a_sensor_that_is_constant_in_training_is_noted(built):
    found = built(FRAME.assign(still=7.0)).panel
    assert any("1 series constant over the training span (still): kept" in note for note in found.notes)


@pytest.mark.parametrize(
    ("change", "sections", "message"),
    [
        (lambda f: f, {"data": {"sensors": ["flaw"]}}, "no column 'flaw' (data.sensors); did you mean 'flow'?"),
        (
            lambda f: f,
            {"data": {"sensors": ["flow"], "labels": "anomal"}},
            "no column 'anomal' (data.labels); did you mean 'anomaly'?",
        ),
        (lambda f: f, {"data": {"labels": None}}, "a sensor cannot be called 'anomaly'"),
        (lambda f: f[["time", "anomaly"]], {}, "no column of numbers besides 'time'; name the sensors in data.sensors"),
        (
            lambda f: f.assign(anomaly=2 * f["anomaly"]),
            {},
            "line 402, column 'anomaly': 2 is not a label; write 1 where",
        ),
        (lambda f: f.assign(flow=np.nan), {"data": {"sensors": ["flow"]}}, "column 'flow': empty in every row"),
        (lambda f: f.replace({"flow": {f["flow"][7]: np.inf}}), {}, "line 9, column 'flow': infinite value"),
        (lambda f: pd.concat([f, f.tail(1)]), {}, "is already in"),
        (
            lambda f: f.assign(heat=f["heat"].where(f.index % 5 > 0)),
            {},
            "no window of the train span of 288 steps has a value of every sensor at each of its steps (lookback 6 and "
            "the one after); 'heat' has 80 % of its values",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_reason(refusal, change, sections, message):
    assert message in refusal(change(FRAME), **sections)


def test_of_repeated_steps_the_first_counts_if_configured(built):
    first, again = FRAME.copy(), FRAME.iloc[[5, 410]].assign(flow=999.0, anomaly=0)
    made = built(pd.concat([first, again]), data={"repeated": "first"}).panel
    expected = built(first).panel
    np.testing.assert_array_equal(made.target, expected.target)
    np.testing.assert_array_equal(made.labels, expected.labels)


def test_a_table_of_skab_and_one_of_nab_are_read_as_they_are(tmp_path):
    """Semicolons, seconds missing, labels as 1.0; a file of values, stretches in a JSON file beside its folder."""
    random = np.random.default_rng(0)
    seconds = pd.date_range("2020-03-09 10:14:33", periods=130, freq="s").delete([40, 41])
    skab = pd.DataFrame({"datetime": seconds, "Current": random.normal(size=128), "Volume Flow RateRMS": 32.0})
    skab = skab.assign(anomaly=(skab.index >= 110).astype(float), changepoint=(skab.index == 110).astype(float))
    skab.to_csv(tmp_path / "0.csv", sep=";", index=False)
    data = {"time": "datetime", "sensors": ["Current", "Volume Flow RateRMS"], "frequency": "s", "calendar": "observed"}
    found = _made(watching(str(tmp_path / "0.csv"), data=data))
    np.testing.assert_array_equal(found.labels, skab["anomaly"] == 1)
    assert found.target.shape == (2, 128)

    (tmp_path / "realTraffic").mkdir()
    times = pd.date_range("2015-09-01 13:45", periods=128, freq="5min")
    nab = pd.DataFrame({"timestamp": times, "value": random.normal(size=128)})
    nab.to_csv(tmp_path / "realTraffic" / "occupancy.csv", index=False)
    windows = {"realTraffic/occupancy.csv": [["2015-09-01 23:00:00.000000", "2015-09-01 23:30:00.000000"]], "x.csv": []}
    (tmp_path / "windows.json").write_text(json.dumps(windows))
    data = {"time": "timestamp", "labels": str(tmp_path / "windows.json"), "frequency": "5min"}
    found = _made(watching(str(tmp_path / "realTraffic" / "*.csv"), data=data))
    assert found.series == ("value",)
    assert found.times[found.labels].strftime("%H:%M").tolist() == [f"23:{minute:02}" for minute in range(0, 31, 5)]


def _made(content):
    text = yaml.safe_dump(content)
    return plan.make_plan(config.parse(text), text, "jax").panel


def test_labels_of_many_tables_may_stand_in_one_json_file(built, tmp_path):
    path = tmp_path / "labels.json"
    marks = {
        "sensors.csv": [["2024-01-01 06:40:00.000000", "2024-01-01 06:59:00"], "2024-01-01 07:30"],
        "other.csv": [],
    }
    path.write_text(json.dumps(marks))
    found = built(FRAME.drop(columns="anomaly"), data={"labels": str(path)}).panel
    assert np.flatnonzero(found.labels).tolist() == [*range(400, 420), 450]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"sensor.csv": []}', "has no entry for"),
        ('{"sensors.csv": [["2024-01-01"]]}', "['2024-01-01'] is not an interval [first, last]"),
        ('{"sensors.csv": ["soon"]}', "cannot be read"),
        ('{"sensors.csv": [["2024-01-01 06:00", "2024-01-01 05:00"]]}', "ends before it begins"),
        ('{"sensors.csv": ["2031-01-01"]}', "lies outside of"),
        ("[]", "cannot be read"),
        (None, "No such file"),
    ],
)
def test_a_file_of_labels_that_cannot_be_used_is_refused(refusal, tmp_path, content, message):
    path = tmp_path / "labels.json"
    if content is not None:
        path.write_text(content)
    assert message in refusal(FRAME.drop(columns="anomaly"), data={"labels": str(path)})


def test_nothing_is_fitted_to_impossible_values_before_the_test_span(built):
    bad = np.zeros(len(FRAME), bool)
    bad[[20, 90, 300, 450]] = True
    panel = built(FRAME.assign(flow=FRAME["flow"].mask(bad, -9999))).panel
    (note,) = [note for note in panel.notes if "-9999" in note]
    assert "4 values of 'flow' are -9999, far from the others (" in note
    assert "write data.missing: [-9999]" in note
    row = panel.series.index("flow")
    assert np.flatnonzero(np.isnan(panel.target[row])).tolist() == [20, 90, 300]
    assert panel.target[row, 450] == -9999
    assert not panel.observed[row, 20]


def test_a_sensor_that_predicts_the_labels_is_called_a_leak(built):
    frame = FRAME.assign(anomaly=FRAME["anomaly"] | FRAME.index.isin(range(440, 450)))
    panel = built(frame.assign(copy=frame["anomaly"]), data={"sensors": ["flow", "copy"]}).panel
    assert any("warning: leak: 'copy' predicts the labels on its own" in note for note in panel.notes)
