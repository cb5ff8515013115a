"""Artificial faults in clean readings, to compare detectors where no label is known. Pure but for its seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

FAULT_STEPS = 10
"""Steps of a fault; the same for detectors of any lookback, so that they are compared on the same faults."""
FAULT_SPACING = 4
"""Steps between two faults, in lengths of a fault: most steps stay unchanged."""
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
