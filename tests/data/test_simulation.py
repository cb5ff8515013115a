"""The made-up plant, and the verb that writes it down."""

import sys

import numpy as np
import pandas as pd
import pytest

from gridcast import cli
from gridcast.data import simulation

FORTNIGHT = 14 * simulation.STEPS_PER_DAY
BOTH = pytest.mark.parametrize("kind", simulation.PLANT_KINDS)


@pytest.fixture(scope="module")
def plants():
    """Readings, labels and clean readings of each kind."""
    return {
        kind: (
            *simulation.simulate_plant(kind, FORTNIGHT, 0),
            simulation.simulate_plant(kind, FORTNIGHT, 0, anomalies=False)[0],
        )
        for kind in simulation.PLANT_KINDS
    }


@BOTH
def test_anomalies_lie_in_the_last_quarter_and_nothing_else_is_changed(plants, kind):
    readings, labels, clean = plants[kind]
    assert len(readings) == FORTNIGHT
    first = labels["start"].min()
    assert first >= readings["time"][int(0.75 * FORTNIGHT)]
    changed = (readings.drop(columns="time") != clean.drop(columns="time")).to_numpy()
    inside = simulation.labelled_steps(readings, labels)
    assert not changed[~inside].any()
    assert inside.sum() == sum((labels["end"] - labels["start"]) / pd.Timedelta(minutes=1))
    for row in labels.itertuples():
        own = ((readings["time"] >= row.start) & (readings["time"] < row.end)).to_numpy()
        where = changed[own].any(axis=0)
        assert list(readings.columns[1:][where]) == [row.sensors]


@BOTH
def test_every_kind_comes_at_least_twice_in_a_fortnight_with_room_around_it(plants, kind):
    _, labels, _ = plants[kind]
    kinds = set(simulation.ANOMALY_KINDS) - ({"changed correlation"} if kind == "univariate" else set())
    counts = labels["kind"].value_counts()
    assert set(counts.index) == kinds
    assert counts.min() >= 2
    apart = labels["start"].to_numpy()[1:] - labels["end"].to_numpy()[:-1]
    assert apart.min() > pd.Timedelta(minutes=60)


@BOTH
def test_a_seed_stands_for_its_data(plants, kind):
    for own, again in zip(plants[kind], simulation.simulate_plant(kind, FORTNIGHT, 0), strict=False):
        pd.testing.assert_frame_equal(own, again)
    assert not plants[kind][0].equals(simulation.simulate_plant(kind, FORTNIGHT, 1)[0])


def test_the_plant_has_a_daily_cycle_and_sensors_that_follow_each_other(plants):
    clean = plants["multivariate"][2].drop(columns="time")
    assert list(clean.columns) == ["speed", "flow", "pressure", "power", "temperature", "vibration"]
    together = clean.corr()
    assert together.loc[["flow", "pressure", "power", "vibration"], "speed"].min() > 0.9
    assert 0.5 < together.loc["temperature", "speed"] < 0.99
    for name in clean:
        days = clean[name].to_numpy().reshape(14, simulation.STEPS_PER_DAY)
        # What an hour of the day tells explains most of what hours differ by.
        hourly = days.reshape(14, 24, 60).mean(axis=2)
        assert hourly.mean(axis=0).var() > 0.5 * hourly.var()
        noise = np.diff(clean[name]).std() / np.sqrt(2)
        assert noise == pytest.approx(simulation.SENSOR_NOISE[name], rel=0.15)


def spoilt(plants, kind, what):
    """Readings and what they would have been, over each anomaly of one kind, in units of the sensor's noise."""
    readings, labels, clean = plants[kind]
    for row in labels[labels["kind"] == what].itertuples():
        own = (readings["time"] >= row.start) & (readings["time"] < row.end)
        unit = simulation.SENSOR_NOISE[row.sensors]
        yield readings.loc[own, row.sensors].to_numpy() / unit, clean.loc[own, row.sensors].to_numpy() / unit


@BOTH
def test_faults_look_as_they_are_called(plants, kind):
    for found, clean in spoilt(plants, kind, "spike"):
        assert len(found) == 5
        np.testing.assert_allclose(np.abs(found - clean), 20, atol=0.1)
    for found, clean in spoilt(plants, kind, "level shift"):
        np.testing.assert_allclose(np.abs(found - clean), 15, atol=0.1)
    for found, clean in spoilt(plants, kind, "drift"):
        away = np.abs(found - clean)
        np.testing.assert_allclose([away[0], away[-1]], [0, 30], atol=0.1)
        assert np.corrcoef(away, np.arange(len(away)))[0, 1] > 0.999
    for found, clean in spoilt(plants, kind, "stuck sensor"):
        assert np.ptp(found) == 0
        assert np.abs(found - clean).max() > 5
    for found, clean in spoilt(plants, kind, "variance change"):
        assert (found - clean).std() == pytest.approx(6, rel=0.4)


def test_readings_of_another_hour_are_normal_on_their_own(plants):
    for found, usual in spoilt(plants, "multivariate", "changed correlation"):
        assert np.abs(found - usual).max() > 10
        assert np.abs(np.diff(found)).max() < 10  # it goes there and back without a jump


def test_little_time_still_has_one_of_each_and_less_is_refused():
    readings, labels = simulation.simulate_plant("multivariate", simulation.MIN_STEPS, 3)
    assert sorted(labels["kind"]) == sorted(simulation.ANOMALY_KINDS)
    assert not simulation.labelled_steps(readings, labels)[: int(0.75 * simulation.MIN_STEPS)].any()
    with pytest.raises(ValueError, match="steps: must be at least 2880 .got 2879"):
        simulation.simulate_plant("univariate", 2879, 0)
    short, none = simulation.simulate_plant("univariate", 30, 0, anomalies=False, start="2024-05-01 12:00")
    assert (len(short), len(none), str(short["time"][29])) == (30, 0, "2024-05-01 12:29:00")
    assert not simulation.labelled_steps(short, none).any()
    with pytest.raises(ValueError, match="kind: 'bivariate' is not allowed"):
        simulation.simulate_plant("bivariate", 30, 0, anomalies=False)


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs `gridcast simulate sensors WORDS` in a folder of its own; gives exit code, output and errors."""

    def run(*words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["gridcast", "simulate", "sensors", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capsys.readouterr()

    return run


@BOTH
def test_the_command_writes_the_simulated_readings(command, tmp_path, kind):
    code, out, err = command("--kind", kind, "--days", "2", "--seed", "5", "--folder", "made/up")
    assert (code, err) == (0, "")
    assert "made/up/sensors.csv: 2,880 readings" in out
    assert sorted(path.name for path in (tmp_path / "made/up").iterdir()) == ["labels.csv", "sensors.csv"]
    table = pd.read_csv(tmp_path / "made/up/sensors.csv", parse_dates=["time"])
    labels = pd.read_csv(tmp_path / "made/up/labels.csv", parse_dates=["start", "end"])
    readings, expected = simulation.simulate_plant(kind, 2880, 5)
    pd.testing.assert_frame_equal(table.drop(columns="anomaly"), readings, check_dtype=False)
    pd.testing.assert_frame_equal(labels, expected, check_dtype=False)
    np.testing.assert_array_equal(table["anomaly"], simulation.labelled_steps(readings, expected).astype(int))
    assert f"{len(labels)} anomalies from {labels['start'][0]} on" in out


def test_an_earlier_plant_is_replaced(command, tmp_path):
    for seed in ("1", "2"):
        assert command("--days", "2", "--seed", seed)[0] == 0
    table = pd.read_csv(tmp_path / "data/sensors/sensors.csv")
    np.testing.assert_array_equal(table["flow"], simulation.simulate_plant("multivariate", 2880, 2)[0]["flow"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--kind", "multivariat"], "--kind: 'multivariat' is not allowed; did you mean 'multivariate'?"),
        (["--days", "1"], "'--days'"),
        (["--seed", "-1"], "'--seed'"),
        (["--folder", "taken"], "--folder: 'taken' is a file, or below one; name a folder"),
        (["--folder", "taken/below"], "--folder: 'taken/below' is a file, or below one; name a folder"),
    ],
)
def test_invalid_options_are_refused_and_leave_no_files(command, tmp_path, words, message):
    (tmp_path / "taken").write_text("in the way")
    code, out, err = command(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
