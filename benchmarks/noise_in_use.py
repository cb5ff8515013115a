"""How often further sentences claim what is not true: on single runs, inputs, detectors, champions and the monitor.

Each function simulates one situation in which nothing is true and returns which claims are made of it; `noise.py`
counts them.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from gridcast.config import RELEVANT
from gridcast.evaluation import permutation_importance, significance
from gridcast.evaluation.origin_losses import MASE
from gridcast.evaluation.paired_comparison import compare_detections, compare_forecasts
from gridcast.monitoring import drift, error_shift
from gridcast.monitoring.findings import AlarmLimits
from gridcast.reporting import setting_contrasts, setting_sentences, verdict
from gridcast.tracking.champion_gate import judge

SPAN = 60
"""Steps of the validation span."""
ORIGINS = (5, 12, 24, 60)
EVENTS = (3, 5, 8)
LIMITS = AlarmLimits()


def persistent(random: np.random.Generator, carried: float, shape: tuple[int, ...]) -> np.ndarray:
    """Return series (..., steps) of which each step keeps `carried` of the one before, of variance 1 below a walk."""
    shocks = random.normal(size=(*shape[:-1], shape[-1] + 50 * (carried < 1)))
    scale = math.sqrt(1 - carried**2) if carried < 1 else 1.0
    values = np.empty_like(shocks)
    values[..., 0] = shocks[..., 0] * (scale if carried == 1 else 1.0)
    for step in range(1, shocks.shape[-1]):
        values[..., step] = carried * values[..., step - 1] + scale * shocks[..., step]
    return values[..., -shape[-1] :]


def run_claims(random: np.random.Generator) -> dict[str, bool]:
    """Return what is said of 12 runs of one seed over the validation steps: equally good, or worse by the margin."""
    shocks, deviations = random.normal(size=(SPAN, 1)), 0.3 * persistent(random, 0.8, (12, SPAN)).T
    losses = pd.DataFrame((shocks + deviations) ** 2).rename(columns=str)

    def relations(frame: pd.DataFrame) -> pd.Series:
        return significance.compare_with_best(
            frame, lambda gap: significance.long_run_mean(gap.to_numpy(float)), margin=RELEVANT
        )

    pair = pd.DataFrame({"a": losses["0"], "b": losses["0"] * (1 + RELEVANT) + 0.02 * random.normal(size=SPAN)})
    return {
        "a run is worse than the best, over validation steps": bool((relations(losses) == "worse").any()),
        "a run is tied with the best, which is worse by the margin": bool((relations(pair) == "tied").any()),
    }


def tie_claims(random: np.random.Generator) -> dict[str, bool]:
    """Return whether a configuration with five seeds is called tied that is worse by the margin."""
    index = pd.MultiIndex.from_product([range(5), [0]], names=["seed", "fold"])
    best = 1 + 0.01 * random.normal(size=5)
    cells = pd.DataFrame({"a": best, "b": best * (1 + RELEVANT) + 0.003 * random.normal(size=5)}, index=index)
    relations = significance.compare_with_best(cells, significance.crossed_mean, margin=RELEVANT)
    return {"a configuration is tied with the best, which is worse by the margin": bool((relations == "tied").any())}


def copy_claims(runs: pd.DataFrame, loss: str) -> dict[str, bool]:
    """Return whether one configuration, or copies of it, are said to differ; `runs` are simulated ones."""
    one = runs[runs["configuration"] == runs["configuration"].iloc[0]]
    copies = pd.concat([one.assign(dropout=value, configuration=str(value)) for value in (0.1, 0.2)])
    said = []
    for frame, axes in ((one, ()), (copies, ("dropout",))):
        contrasts = setting_contrasts.setting_contrasts(frame, axes, loss, RELEVANT)
        spread = setting_contrasts.seed_spread(frame, loss)
        said += setting_sentences.setting_sentences(contrasts, axes, loss, relevant=RELEVANT, spread=spread)
    cells = copies.pivot_table(index=["seed", "fold"], columns="configuration", values=loss)
    relations = significance.compare_with_best(cells, significance.crossed_mean, margin=RELEVANT)
    claims = [sentence for sentence in said if " beat " in sentence]
    return {"one configuration, or a copy of it, differs": bool(claims) or bool((relations == "worse").any())}


def input_claims(random: np.random.Generator, carried: float, number: int, steps: int = 120) -> dict[str, bool]:
    """Return whether an input counts that has nothing to do with the target.

    The network gives four such covariates small weights, as chance in training does; target and covariates are 1, 3, 6
    or 20 series each, which keep `carried` of a step.
    """
    count = (1, 3, 6, 20)[number % 4]
    train, weights = 200, np.r_[1.0, 0.05 * random.normal(size=4)]
    channels = np.moveaxis(persistent(random, carried, (5, count, train + steps)), 0, 2)
    known = channels[:, :train]
    channels = (channels - known.mean(axis=1, keepdims=True)) / known.std(axis=1, keepdims=True)
    index = np.array([(series, origin) for series in range(count) for origin in range(train, train + steps)])

    def forecast(rows: np.ndarray, index: np.ndarray, codes: np.ndarray) -> np.ndarray:
        return np.asarray(rows[index[:, 0], index[:, 1] - 1] @ weights)[:, None]

    windows = permutation_importance.ScoredWindows(
        channels=channels.astype(np.float32),
        index=index,
        codes=np.arange(count),
        actual=channels[index[:, 0], index[:, 1], 0][:, None],
        scale=np.ones(count),
    )
    parts = permutation_importance.input_parts(list("yabcd"), first_known_ahead=9, lookback=3, horizon=1)
    covariates = [part for part in parts if part.kind == "covariate"]
    _, permuted = permutation_importance.part_importance(forecast, windows, covariates, generator=random)
    sentences = verdict.input_sentences(permuted, pd.DataFrame(), repeats=5, relevant=RELEVANT)
    return {"an input counts": any("% higher" in sentence for sentence in sentences)}


def detector_claims(random: np.random.Generator, number: int) -> dict[str, bool]:
    """Return whether one of two equally good detectors is called better or worse than the other."""
    events = EVENTS[number % len(EVENTS)]
    labels = np.zeros(60 * events, bool)
    for event in range(events):
        labels[60 * event + 30 : 60 * event + 35] = True
    times = pd.date_range("2024-01-01", periods=len(labels), freq="h")
    one, other = (
        pd.DataFrame({"time": times, "score": random.normal(size=len(labels)) + 1.5 * labels, "labelled": labels})
        for _ in range(2)
    )
    found = compare_detections(one, other, margin=RELEVANT, time="time")
    return {"a detector is better or worse": judge(found, margin=RELEVANT, challengers=1) in ("better", "worse")}


def champion_claims(random: np.random.Generator, number: int) -> dict[str, bool]:
    """Return whether one of three challengers, all as good as the champion, replaces it or is called worse."""
    count = ORIGINS[number % len(ORIGINS)]
    actual, times = random.normal(size=count), pd.date_range("2024-01-01", periods=count)

    def network() -> pd.DataFrame:
        forecast = 0.3 * persistent(random, 0.5, (count,))
        return pd.DataFrame(
            {"series": "a", "time": times, "step": 1, "actual": actual, "forecast": forecast, "scale": 1.1}
        )

    champion, standings = network(), []
    for challengers in (1, 2, 3):
        found = compare_forecasts(network(), champion, measure=MASE, margin=RELEVANT, overlap=1)
        standings.append(judge(found, margin=RELEVANT, challengers=challengers))
    return {"a challenger replaces the champion": "better" in standings}


def monitor_claims(random: np.random.Generator) -> dict[str, bool]:
    """Return which alarms a model in use raises, and whether a challenger differs, where all is as in training."""
    errors = np.abs(persistent(random, 0.5, (150,)))
    shift = error_shift.measure_errors(errors[90:], errors[:90], overlap=1, reach=7)
    values = persistent(random, 0.7, (4, 600))
    shifts = [drift.measure_shift(part[:, :-60], 480, part[:, -60:]) for part in values[:, None]]
    p_values = significance.holm([p for one in shifts for p in (one.psi_p_value, one.ks_p_value)])
    by_feature = p_values.reshape(-1, 2).min(axis=1)
    misses = (np.abs(persistent(random, 0.5, (60,))) > 1.2815515655446004).astype(float)
    p_coverage = drift.increase_p_value(misses, np.full(60, 0.2), 1)
    losses = np.abs(random.normal(size=40) + 0.3 * persistent(random, 0.5, (2, 40)))
    return {
        "the monitor says that the error has risen": shift.is_risen(LIMITS.error, LIMITS.alpha),
        "the monitor says that a feature has drifted": any(
            p <= LIMITS.alpha and one.psi >= LIMITS.psi for p, one in zip(by_feature, shifts, strict=True)
        ),
        "the monitor says that the coverage has fallen": bool(
            misses.mean() > 0.2 + LIMITS.coverage and p_coverage <= LIMITS.alpha
        ),
        "the monitor says that a challenger differs": significance.diebold_mariano(*losses).p_value <= LIMITS.alpha,
    }
