"""A simulated pump: readings each minute that resemble real ones, and anomalies whose place is known.

The pump follows the demand of the day. Its load is set to a new value now and then; all its sensors follow the load,
the temperature slowly and together with the ambient temperature. The same seed gives the same data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.signal import lfilter

PLANT_KINDS = ("univariate", "multivariate")
SENSOR_NOISE = {"speed": 6.0, "flow": 0.4, "pressure": 0.04, "power": 0.25, "temperature": 0.25, "vibration": 0.015}
"""Sensors of the multivariate plant and the standard deviation of their noise: rpm, m³/h, bar, kW, °C, mm/s."""
UNIVARIATE_SENSOR = "temperature"
"""The sensor of the univariate plant."""
STEPS_PER_DAY = 1440
"""A step is a minute."""
NORMAL_SHARE = 0.75
"""Share of the steps, at the beginning, without any anomaly."""
MIN_STEPS = 2 * STEPS_PER_DAY
"""Steps needed with anomalies: the last quarter must have room for one of each kind."""
MIN_SLOT = 400
"""Least number of steps for an anomaly and normal operation around it, where there is more than one of its kind."""
CANDIDATE_PLACES = 8
"""Random places that are tried for an anomaly; it takes the one where it changes the readings most."""

Change = Callable[[np.ndarray, int, int, float, np.random.Generator], np.ndarray]
"""From all values of a sensor, start, end, the standard deviation of its noise and a generator to its faulty readings
(end - start,).
"""


def _spike(values: np.ndarray, start: int, end: int, noise: float, random: np.random.Generator) -> np.ndarray:
    return values[start:end] + random.choice([-20, 20]) * noise


def _level_shift(values: np.ndarray, start: int, end: int, noise: float, random: np.random.Generator) -> np.ndarray:
    return values[start:end] + random.choice([-15, 15]) * noise


def _drift(values: np.ndarray, start: int, end: int, noise: float, random: np.random.Generator) -> np.ndarray:
    return values[start:end] + random.choice([-30, 30]) * noise * np.linspace(0, 1, end - start)


def _stuck(values: np.ndarray, start: int, end: int, *_: object) -> np.ndarray:
    return np.full(end - start, values[start])


def _variance(values: np.ndarray, start: int, end: int, noise: float, random: np.random.Generator) -> np.ndarray:
    return values[start:end] + random.normal(0, 6 * noise, end - start)


def _correlation(values: np.ndarray, start: int, end: int, *_: object) -> np.ndarray:
    """The sensor's values of half a day before, faded in and out: normal by themselves, but not beside the others."""
    before = values[start - STEPS_PER_DAY // 2 : end - STEPS_PER_DAY // 2]
    share = np.minimum(np.arange(1, end - start + 1) / 20, 1)
    share = np.minimum(share, share[::-1])
    return (1 - share) * values[start:end] + share * before


ANOMALY_KINDS: dict[str, tuple[int, Change]] = {
    "spike": (5, _spike),
    "level shift": (60, _level_shift),
    "drift": (180, _drift),
    "stuck sensor": (240, _stuck),
    "variance change": (60, _variance),
    "changed correlation": (180, _correlation),
}
"""Number of steps, at most half of its slot, and change of each kind. The last kind needs further sensors."""


class InjectedAnomaly(NamedTuple):
    """An anomaly of a `kind` in the steps [start, end) of one `sensor`."""

    start: int
    end: int
    kind: str
    sensor: str


def simulate_plant(
    kind: str, steps: int, seed: int, *, anomalies: bool = True, start: str = "2024-01-01"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return readings and labels of a plant over `steps` minutes from `start` on.

    The readings have the column time and one for each sensor, in its own unit: those of `SENSOR_NOISE`, or
    `UNIVARIATE_SENSOR`. The labels have a row for each anomaly, in the order of time: start, end (the first minute
    after it), kind, sensors (the faulty one). Anomalies lie in the last quarter of the steps (see `NORMAL_SHARE`), as
    many of each kind as there is room for; without `anomalies` the readings are otherwise the same.

    Raises ValueError for a `kind` that is not in `PLANT_KINDS`, and for fewer than 1 of `steps`, or than `MIN_STEPS`
    with anomalies.
    """
    if kind not in PLANT_KINDS:
        raise ValueError(f"kind: '{kind}' is not allowed (allowed: {', '.join(PLANT_KINDS)})")
    needed = MIN_STEPS if anomalies else 1
    if steps < needed:
        raise ValueError(f"steps: must be at least {needed} (got {steps})")
    values = _normal_readings(steps, np.random.default_rng([seed, 0]))
    if kind == "univariate":
        values = {UNIVARIATE_SENSOR: values[UNIVARIATE_SENSOR]}
    injected = _inject_anomalies(values, steps, np.random.default_rng([seed, 1])) if anomalies else []
    times = pd.date_range(start, periods=steps, freq="min")
    readings = pd.DataFrame({"time": times, **{name: np.round(column, 3) for name, column in values.items()}})
    rows = [
        (times[anomaly.start], times[anomaly.end - 1] + pd.Timedelta(minutes=1), anomaly.kind, anomaly.sensor)
        for anomaly in injected
    ]
    return readings, pd.DataFrame(rows, columns=["start", "end", "kind", "sensors"])


def labelled_steps(readings: pd.DataFrame, labels: pd.DataFrame) -> np.ndarray:
    """Return True (steps,) where a reading lies within one of the `labels`."""
    times = readings["time"]
    inside = [(times >= start) & (times < end) for start, end in zip(labels["start"], labels["end"], strict=True)]
    return np.any(inside, axis=0) if inside else np.zeros(len(times), bool)


def _normal_readings(steps: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Readings (steps,) of each sensor without anomalies."""
    minute = np.arange(steps)
    load_changes = np.flatnonzero(random.random(steps) < 1 / 240)  # every four hours on average
    set_points = np.append(0, random.uniform(-0.08, 0.08, len(load_changes)))
    setting = set_points[np.searchsorted(load_changes, minute, "right")]
    load = 0.6 + 0.2 * np.sin(2 * np.pi * (minute / STEPS_PER_DAY - 0.3)) + _low_pass(setting, 8)
    load += lfilter([0.0013], [1, -0.95], random.normal(size=steps))  # demand always fluctuates a little
    weather = random.normal(0, 0.5, steps // STEPS_PER_DAY + 1)[minute // STEPS_PER_DAY]
    ambient = 18 + 4 * np.sin(2 * np.pi * (minute / STEPS_PER_DAY - 0.4)) + weather
    speed = 900 + 900 * load
    without_noise = {
        "speed": speed,
        "flow": 0.07 * speed,
        "pressure": 1 + 2.5e-6 * speed**2,
        "power": 2 + 6e-9 * speed**3,
        "temperature": _low_pass(ambient, 120) + _low_pass(45 * load, 60),
        "vibration": 0.8 + 1.6 * load**2,
    }
    return {name: without_noise[name] + random.normal(0, noise, steps) for name, noise in SENSOR_NOISE.items()}


def _low_pass(values: np.ndarray, minutes: float) -> np.ndarray:
    """`values` (steps,) through a low-pass filter of first order with a time constant of that many minutes."""
    keep = np.exp(-1 / minutes)
    return np.asarray(lfilter([1 - keep], [1, -keep], values, zi=[keep * values[0]])[0])


def _inject_anomalies(values: dict[str, np.ndarray], steps: int, random: np.random.Generator) -> list[InjectedAnomaly]:
    """Put anomalies into the last quarter of `values`, in place, and return them in the order of time."""
    kinds = [kind for kind in ANOMALY_KINDS if len(values) > 1 or kind != "changed correlation"]
    first, names = int(np.ceil(NORMAL_SHARE * steps)), list(values)
    rounds = max(1, (steps - first) // (MIN_SLOT * len(kinds)))
    order = [kinds[k] for _ in range(rounds) for k in random.permutation(len(kinds))]
    edges = np.linspace(first, steps, len(order) + 1).astype(int).tolist()
    injected = []
    for number, (kind, low, high) in enumerate(zip(order, edges[:-1], edges[1:], strict=True)):
        name = names[(number + number // len(names)) % len(names)]  # so that a kind meets other sensors each round
        readings, (max_length, change) = values[name], ANOMALY_KINDS[kind]
        length = min(max_length, (high - low) // 2)
        margin = (high - low - length) // 4
        candidates = {
            start: change(readings, start, start + length, SENSOR_NOISE[name], random)
            for start in random.integers(low + margin, high - margin - length + 1, CANDIDATE_PLACES).tolist()
        }
        start = max(candidates, key=lambda at: float(np.abs(candidates[at] - readings[at : at + length]).mean()))
        readings[start : start + length] = candidates[start]
        injected.append(InjectedAnomaly(start, start + length, kind, name))
    return injected
