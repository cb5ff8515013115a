"""Faults put into clean readings."""

import numpy as np

from gridcast.training import fault_injection


def readings(steps=800, sensors=3):
    random = np.random.default_rng(0)
    sizes = np.array([1.0, 10.0, 0.0])[:sensors]
    return sizes * (np.sin(np.arange(steps)[:, None] / 9) + 0.1 * random.normal(size=(steps, sensors)))


def test_faults_stand_apart_in_one_sensor_each_and_all_else_stays():
    values = readings()
    changed, labels = fault_injection.inject_faults(values, 10)
    np.testing.assert_array_equal(changed[~labels], values[~labels])
    starts = np.arange(10, 791, 50)
    for start in starts:
        part = slice(start, start + 10)
        assert (changed[part] != values[part]).any(axis=0).sum() == 1
        assert labels[part].any()
    assert labels.sum() <= 10 * len(starts)
    assert (changed[:, 2] == values[:, 2]).all()  # a constant sensor, whose spread says nothing


def test_each_kind_has_its_size_in_spreads_of_its_sensor():
    values = readings(sensors=1)
    spread = values.std()
    changed, _ = fault_injection.inject_faults(values, 10)
    moved = (changed - values)[:, 0] / spread
    spike, shift, drift, stuck = (moved[start : start + 10] for start in (10, 60, 110, 160))
    assert np.flatnonzero(spike).tolist() == [5]
    np.testing.assert_allclose([abs(spike[5]), *np.abs(shift)], [4.0, *[2.0] * 10])
    np.testing.assert_allclose(np.abs(drift), np.linspace(0, 3, 10), atol=1e-12)
    assert np.ptp(changed[160:170]) == 0
    assert stuck[0] == 0


def test_they_are_the_same_each_time_and_another_seed_gives_others():
    values = readings()
    one, again, other = (fault_injection.inject_faults(values, 10, seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_missing_values_stay_missing_and_what_never_varies_is_left_alone():
    values = readings()
    values[60:70] = np.nan
    changed, labels = fault_injection.inject_faults(values, 10)
    assert np.isnan(changed[60:70]).all()
    assert not labels[60:70].any()
    still, none = fault_injection.inject_faults(np.ones((100, 2)), 10)
    assert (still == 1).all()
    assert not none.any()


def test_faults_have_a_length_of_their_own():
    changed, labels = fault_injection.inject_faults(readings(steps=260, sensors=1))
    assert np.flatnonzero(labels[:110]).tolist() == [15, *range(60, 70)]  # a spike amid ten steps, a shift of ten
    assert fault_injection.FAULT_STEPS == 10
    assert (changed[60:70] != readings(steps=260, sensors=1)[60:70]).all()


def test_varied_faults_last_hide_and_are_in_several_sensors():
    values = readings(steps=200)
    found = list(fault_injection.fault_scenarios(values))
    assert len(found) == fault_injection.SCENARIOS
    lengths = {int(labels.sum()) for _, labels in found}
    assert min(lengths) == 5  # a spike
    assert max(lengths) >= 99
    sensors = {int((changed != values).any(axis=0).sum()) for changed, _ in found}
    assert sensors == {1, 2}  # the third is constant
    for changed, labels in found:
        np.testing.assert_array_equal(changed[~labels], values[~labels])
    again = list(fault_injection.fault_scenarios(values))
    assert all(np.array_equal(one[0], other[0]) for one, other in zip(found, again, strict=True))
    assert list(fault_injection.fault_scenarios(np.ones((100, 2)))) == []
