"""Artificial faults in clean readings, to compare detectors where no label is known. Pure but for its seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

FAULT_STEPS = 10
"""Steps of a fault; the same for detectors of any lookback, so that they are compared on the same faults."""
FAULT_SPACING = 4
"""Steps between two faults, in lengths of a fault: most steps stay unchanged."""
SCENARIOS = 18
"""Copies of the readings with a fault each: every kind in every size, so that none decides alone."""
SCENARIO_SIZES = (1.0, 2.0, 4.0)
"""Sizes of faults in standard deviations of the sensor, from those that hide in the usual variation."""
SCENARIO_SHARES = (0.1, 0.25, 0.5)
"""Lengths of faults, as shares of the readings: real faults last, until somebody sees them."""
SPIKE_SHARE = 1 / 40
MAX_SCENARIO_STEPS = 1000
"""Steps of readings of which copies are scored, at most."""
FaultFunction = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
"""From the readings (n,) of a sensor, its standard deviation and a random generator to the faulty readings (n,)."""


def _spike(values: np.ndarray, spread: float, random: np.random.Generator) -> np.ndarray:
    changed = values.copy()
    changed[len(values) // 2] += random.choice([-4.0, 4.0]) * spread
    return changed


def _shift(values: np.ndarray, spread: float, random: np.random.Generator) -> np.ndarray:
    return values + random.choice([-2.0, 2.0]) * spread


def _drift(values: np.ndarray, spread: float, random: np.random.Generator) -> np.ndarray:
    return values + random.choice([-3.0, 3.0]) * spread * np.linspace(0, 1, len(values))


def _stuck(values: np.ndarray, *_: object) -> np.ndarray:
    return np.full(len(values), values[0])


def _noise(values: np.ndarray, spread: float, random: np.random.Generator) -> np.ndarray:
    return values + random.normal(0, spread, len(values))


FAULTS: dict[str, FaultFunction] = {"spike": _spike, "shift": _shift, "drift": _drift, "stuck": _stuck, "noise": _noise}


def inject_faults(values: np.ndarray, length: int = FAULT_STEPS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return `values` (steps, sensors) with faults of `length` steps, and which steps they changed (steps,).

    The kinds take turns, each in one sensor drawn at random among those that vary. The faults are the same
    for the same values, length and seed. Where values are missing, or nothing varies, nothing is changed.

    Source: Goswami, Challu, Callot, Minorics, Kan (2023), "Unsupervised Model Selection for Time-series Anomaly
    Detection": detectors can be ranked by how well they detect synthetic anomalies.
    """
    random, changed = np.random.default_rng(seed), values.copy()
    spreads = np.array(
        [np.std(sensor[np.isfinite(sensor)]) if np.isfinite(sensor).any() else 0.0 for sensor in values.T]
    )
    varying = np.flatnonzero(spreads > 0)
    kinds = list(FAULTS.values())
    starts = range(length, len(values) - length + 1, (1 + FAULT_SPACING) * length) if len(varying) else range(0)
    for number, start in enumerate(starts):
        sensor, steps = int(random.choice(varying)), slice(start, start + length)
        if np.isfinite(values[steps, sensor]).all():
            changed[steps, sensor] = kinds[number % len(kinds)](values[steps, sensor], float(spreads[sensor]), random)
    return changed, np.asarray(((changed != values) & np.isfinite(values)).any(axis=1))


def fault_scenarios(values: np.ndarray, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield copies of `values` (steps, sensors) with one fault each, and which steps it changed (steps,).

    Faults are shifts, drifts, stuck sensors, noise, broken relations (a sensor shows another stretch, backwards) and
    spikes, in one sensor, half of them or all, of each size and length. Short faults in one sensor, as those of
    `inject_faults`, prefer detectors that see only where a fault begins. Where nothing varies there is none.
    """
    random, steps = np.random.default_rng(seed), len(values)
    spreads = np.array([np.std(row[np.isfinite(row)]) if np.isfinite(row).any() else 0.0 for row in values.T])
    varying = np.flatnonzero(spreads > 0)
    if not len(varying):
        return
    kinds = list(SCENARIO_FAULTS)
    for number in range(SCENARIOS):
        kind, round_number = kinds[number % len(kinds)], number // len(kinds)
        size = SCENARIO_SIZES[round_number % len(SCENARIO_SIZES)]
        share = SPIKE_SHARE if kind == "spike" else SCENARIO_SHARES[(number + round_number) % len(SCENARIO_SHARES)]
        length = min(steps, max(1 if kind == "spike" else 2, int(share * steps)))
        start = int(random.integers(0, steps - length + 1))
        count = int(random.choice([1, max(1, len(varying) // 2), len(varying)]))
        changed, span = values.copy(), slice(start, start + length)
        for sensor in random.choice(varying, count, replace=False):
            other = values[int(random.integers(0, steps - length + 1)) :, sensor][:length]
            change = size * float(spreads[sensor]) * float(random.choice([-1, 1]))
            changed[span, sensor] = SCENARIO_FAULTS[kind](values[span, sensor], other, change, random)
        labels = np.asarray(((changed != values) & np.isfinite(values)).any(axis=1))
        if labels.any():
            yield changed, labels


SCENARIO_FAULTS: dict[str, Callable[[np.ndarray, np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "shift": lambda values, _, change, __: values + change,
    "drift": lambda values, _, change, __: values + 2 * change * np.linspace(0, 1, len(values)),
    "stuck": lambda values, *_: np.full(len(values), values[0]),
    "noise": lambda values, _, change, random: values + random.normal(0, abs(change), len(values)),
    "broken relation": lambda _, other, *__: other[::-1],
    "spike": lambda values, _, change, __: values + change,
}
"""From readings (n,) of a sensor, another stretch of them (n,), a change and a generator to the faulty ones (n,)."""
