"""Impossible values and stuck sensors are found, and heavy-tailed or stepwise readings are not called so."""

import numpy as np
import pytest

from gridcast.data.check_readings import impossible_values, longest_stretch


def flow(steps=1000):
    return 100 + np.random.default_rng(0).normal(size=steps).cumsum()


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ({-9999.0: 30}, [-9999]),
        ({32767.0: 3}, [32767]),
        ({-9999.0: 5, 9999.0: 5}, [-9999, 9999]),
        ({1e7 + 0.5: 1}, [1e7 + 0.5]),
        ({0.0: 30}, []),  # it may be off
        ({300.0: 1}, []),
    ],
)
def test_values_far_outside_all_others_are_impossible(written, found):
    values, start = flow(), 0
    for value, count in written.items():
        values[start : start + 3 * count : 3], start = value, start + 3 * count
    assert [(one.value, one.count) for one in impossible_values(values)] == [(one, written[one]) for one in found]


def test_a_state_that_lasts_is_not_impossible():
    assert impossible_values(np.append(flow(), np.full(300, 3.0))) == []


def test_tails_of_honest_readings_are_not_impossible():
    random = np.random.default_rng(0)
    for draw in (random.standard_normal, lambda n: random.standard_t(3, n), lambda n: random.lognormal(0, 1, n)):
        assert [impossible_values(draw(3000)) for _ in range(50)] == [[]] * 50


def test_a_stuck_sensor_is_found_and_a_setting_that_lasts_is_not():
    values = flow()
    values[400:460] = values[400]
    found = longest_stretch(values)
    assert (found.start, found.steps, found.usual) == (400, 60, 1)
    assert longest_stretch(flow()) is None
    assert longest_stretch(np.repeat(flow(40), 60)) is None
    assert longest_stretch(np.full(500, 3.0)) is None
