"""How often the report claims what is not true: sweeps in which nothing is true, sentence by sentence.

Losses are simulated where the sentences begin: the validation loss of each run, the forecasts of the test span by
origin. All runs share the validation span, the runs of a seed share a deviation of that seed and of each setting,
forecasts of neighbouring origins share shocks, and series move together. These go into the functions that write the
report; `noise_in_use.py` has the situations of other sentences.

    python benchmarks/noise.py                   # counts of claims, power, and sizes of the test; minutes
    python benchmarks/noise.py --recorded        # the recorded tables
    python benchmarks/noise_trained.py 20        # the same of trained sweeps
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import noise_in_use
import numpy as np
import pandas as pd
from noise_in_use import SPAN, persistent
from scipy.special import stdtr

from gridcast.config import RELEVANT, Configuration
from gridcast.evaluation import significance
from gridcast.evaluation.origin_losses import MAE, MASE, MSSE, Measure
from gridcast.models.baselines import NAIVE_BASELINES
from gridcast.reporting import (
    baseline_comparison,
    baseline_sentences,
    interval_calibration,
    setting_contrasts,
    setting_sentences,
    verdict,
)

RECORDED = Path(__file__).parent / "recorded" / "noise.json"
LOSS = "best_val_loss"
PROCESSES = {"white noise": 0.0, "AR(1) 0.9": 0.9, "random walk": 1.0}
"""How much of a step is carried into the next one."""
GRIDS: tuple[dict[str, list[object]], ...] = (
    {"units": [32, 64], "dropout": [0.1, 0.2]},
    {"learning_rate": [0.00499, 0.005, 0.00501], "dropout": [0.099, 0.1, 0.101]},
    {"units": [32, 64, 128], "layer": ["GRU", "LSTM"], "batch_size": [32, 64], "dropout": [0.1, 0.2, 0.3]},
    {
        "layer": ["GRU", "LSTM"],
        "attention": [False, True],
        "units": [32, 64, 128],
        "dropout": [0.1, 0.2, 0.3],
        "learning_rate": [0.001, 0.0005, 0.0001],
        "batch_size": [32, 64],
    },
    {"units": [32]},
)
"""From 4 to 216 configurations, and a single one."""
SEEDS = (1, 3, 5)
SEED_SHARE = 0.008
"""Standard deviation between seeds of one configuration that the simulated runs have, as on the retail grid."""
BASELINES = ("last value", "seasonal naive", "training mean", "training median", "ETS", "ridge")
SIZES = tuple(itertools.product((1, 7, 14), (15, 30, 60, 120), (0.0, 0.5, 0.9)))
"""Horizon, origins and autocorrelation of the forecasters' deviations in the table of sizes."""


@dataclass(frozen=True)
class Case:
    """One simulated sweep."""

    process: str
    grid: dict[str, list[object]]
    seeds: int
    horizon: int
    origins: int
    series: int


def cases(count: int) -> Iterator[Case]:
    """Return `count` cases, which take turns in process, number of seeds, grid, horizon, origins and series."""
    shapes = itertools.cycle(
        ((1, 60, 20), (7, 60, 5), (1, 30, 1), (14, 60, 20), (7, 120, 1), (1, 5, 1), (1, 12, 20), (7, 24, 5))
    )
    settings = itertools.cycle(itertools.product(PROCESSES, SEEDS, GRIDS))
    for _, (process, seeds, grid), (horizon, origins, series) in zip(range(count), settings, shapes, strict=False):
        yield Case(process, grid, seeds, horizon, origins, series)


def simulated_runs(
    random: np.random.Generator, case: Case, effect: float = 0.0, axis: str = "", share: float = SEED_SHARE
) -> pd.DataFrame:
    """Return a frame of runs, as `leaderboard` describes it, with the validation loss of each.

    A run forecasts the next step but for an offset and a slope on the last value, of which its seed gives one part,
    each value of a setting another, which is the same in all runs of that seed, and chance the rest: so all runs share
    the noise of the validation span, and matched pairs agree. The first value of `axis` has a loss that is lower by the
    share `effect`; without it no setting has any effect.
    """
    values = persistent(random, PROCESSES[case.process], (SPAN,))
    features = np.stack([np.ones(SPAN), (values - values.mean()) / max(values.std(), 1e-9)])
    shocks = random.normal(size=SPAN)
    of_seed = random.normal(size=(case.seeds, 2))
    of_value = {name: random.normal(size=(len(values), case.seeds, 2)) for name, values in case.grid.items()}
    rows, points = [], list(itertools.product(*case.grid.values()))
    for point, seed in itertools.product(points, range(case.seeds)):
        of_settings = [
            of_value[name][case.grid[name].index(value)][seed] for name, value in zip(case.grid, point, strict=True)
        ]
        parts = of_seed[seed] + np.sum(of_settings, axis=0) / math.sqrt(len(point)) + random.normal(size=2)
        deviation = parts @ features / math.sqrt(6)
        # The cross term makes most of the difference between runs: its standard deviation is 2 d / sqrt(steps).
        loss = float(np.mean((shocks + share * math.sqrt(SPAN) / 2 * deviation) ** 2))
        settings = dict(zip(case.grid, point, strict=True))
        if axis and settings[axis] == case.grid[axis][0]:
            loss *= 1 - effect
        configuration = Configuration(lookback=7, **settings).model_dump()
        name = f"{' '.join(map(str, point))} seed{seed}"
        rows.append(
            {
                "run_id": name,
                "key": name,
                "name": name,
                "seed": seed,
                "fold": 0,
                "series": "",
                "configuration": json.dumps(configuration, sort_keys=True),
                **configuration,
                LOSS: loss,
                "fit_seconds": 1.0,
                "parameters": 100,
            }
        )
    return pd.DataFrame(rows)


def simulated_tests(
    random: np.random.Generator, case: Case, excess: float = 0.0, correlation: float = 0.7
) -> dict[str, pd.DataFrame]:
    """Return tables of the test span of a winner and the baselines, all of them equally good.

    Each forecasts the conditional mean but for a deviation of its own that keeps 0.8 from one origin to the next; the
    shocks of `series` have this `correlation`. With `excess` the baselines' absolute error is larger by this share.
    The quantiles 0.1 and 0.9 of the table are those of the true distribution.
    """
    carried, steps = PROCESSES[case.process], case.origins + case.horizon
    common = random.normal(size=(1, steps))
    shocks = math.sqrt(correlation) * common + math.sqrt(1 - correlation) * random.normal(size=(case.series, steps))
    ahead = np.arange(1, case.horizon + 1)
    error = np.zeros((case.series, case.origins, case.horizon))
    for step in ahead:
        reach = np.arange(case.origins)[:, None] + np.arange(1, step + 1)
        error[:, :, step - 1] = shocks[:, reach] @ carried ** np.arange(step - 1, -1, -1.0)
    deviation = np.sqrt(np.cumsum(carried ** (2 * np.arange(case.horizon))))
    times = pd.date_range("2024-01-01", periods=steps).to_numpy()
    frame = {
        "series": np.repeat([f"s{k}" for k in range(case.series)], case.origins * case.horizon),
        "time": np.tile(times[np.arange(case.origins)[:, None] + ahead].ravel(), case.series),
        "step": np.tile(ahead, case.series * case.origins),
        "actual": 100 + error.ravel(),
        "scale": 1.0,
    }
    spread = np.tile(deviation, case.series * case.origins)
    tests = {}
    for name in ("winner", *BASELINES):
        own = persistent(random, 0.8, (case.series, case.origins))[:, :, None] * np.ones(case.horizon)
        # Shock and deviation are normal, so the absolute error grows as the root of the sum of their variances.
        size = 0.3 * deviation
        if excess and name != "winner":
            size = deviation * math.sqrt((1 + excess) ** 2 * (1 + 0.3**2) - 1)
        tests[name] = pd.DataFrame({**frame, "forecast": 100 + (own * size).ravel()})
    for level in (0.1, 0.9):
        tests["winner"][f"q{level:g}"] = 100 + NormalDist().inv_cdf(level) * spread
    return tests


def of_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Return `table` in whole numbers: their errors repeat, so that few of them may seem to have no variance."""
    return table.round({"actual": 0, "forecast": 0})


def setting_claims(runs: pd.DataFrame, grid: dict[str, list[object]]) -> dict[str, bool]:
    """Return which kinds of claims the sentences on settings make."""
    axes = tuple(grid)
    contrasts = setting_contrasts.setting_contrasts(runs, axes, LOSS, RELEVANT)
    sentences = setting_sentences.setting_sentences(
        contrasts, axes, LOSS, relevant=RELEVANT, spread=setting_contrasts.seed_spread(runs, LOSS)
    )
    effects = [sentence for sentence in sentences if " beat " in sentence]
    return {
        "a setting has an effect": bool(effects),
        "a setting has no effect": any("made no difference" in sentence for sentence in sentences),
    }


def configuration_claims(runs: pd.DataFrame) -> dict[str, bool]:
    """Return whether a configuration is said to be worse than the best one, or tied with it."""
    cells = runs.pivot_table(index=["seed", "fold"], columns="configuration", values=LOSS)
    relations = significance.compare_with_best(cells, significance.crossed_mean, margin=RELEVANT)
    return {
        "a configuration is worse than the best": bool((relations == "worse").any()),
        "a configuration is tied with the best": bool((relations == "tied").any()),
    }


def baseline_claims(tests: dict[str, pd.DataFrame], overlap: int, measure: Measure = MASE) -> dict[str, bool]:
    """Return which kinds of claims the headline and the sentences on baselines make."""
    against = baseline_comparison.compare_baselines(
        tests, "winner", overlap=overlap, measure=measure, relevant=RELEVANT
    )
    values = {name: {measure.name: 1.0, "mase": 1.0} for name in tests}
    standing = baseline_sentences.BaselineStanding(against, measure, "winner", values, None, {}, RELEVANT)
    headline = baseline_sentences.bottom_line(standing, NAIVE_BASELINES)
    sentence = baseline_sentences.baseline_sentences(standing)[0]
    told = [word in sentence for word in (" below ", " above ")]
    return {
        "the headline says that a baseline is beaten": "beats" in headline,
        "a baseline is better or worse": any(told) and "not tested" not in sentence,
        "a baseline is tied": "is tied with" in sentence,
    }


def interval_claims(tests: dict[str, pd.DataFrame], overlap: int) -> dict[str, bool]:
    """Return whether correct intervals are called too narrow or too wide."""
    intervals = interval_calibration.interval_coverage({"winner": tests["winner"]}, overlap)
    return {"correct intervals are wrong": "chance explains" in verdict.coverage_sentence(intervals, "winner", 0.8)}


TRUE_HERE = ("a setting has no effect", "a configuration is tied with the best", "a baseline is tied")
"""Claims that are true where nothing differs; they are counted where the difference is just the margin."""


def count_claims(sweeps: int, seed: int = 0) -> dict[str, list[int]]:
    """Return for each kind of claim in how many of `sweeps` it was made wrongly, and in how many it could be."""
    counts: dict[str, list[int]] = {}
    for number, case in enumerate(cases(sweeps)):
        random = np.random.default_rng([seed, number])
        runs, tests = simulated_runs(random, case), simulated_tests(random, case)
        compared = {name: of_counts(table) for name, table in tests.items()} if number % 4 == 3 else tests
        claims = {
            **setting_claims(runs, case.grid),
            **configuration_claims(runs),
            **baseline_claims(compared, case.horizon, (MASE, MSSE, MAE)[number % 3]),
            **interval_claims(tests, case.horizon),
            **noise_in_use.input_claims(random, PROCESSES[case.process], number),
            **noise_in_use.run_claims(random),
            **noise_in_use.tie_claims(random),
            **noise_in_use.copy_claims(runs, LOSS),
            **noise_in_use.detector_claims(random, number),
            **noise_in_use.champion_claims(random, number),
            **noise_in_use.monitor_claims(random),
        }
        claims = {claim: made for claim, made in claims.items() if claim not in TRUE_HERE}
        claims["a baseline is tied, which is worse by the margin"] = baseline_claims(
            simulated_tests(random, case, excess=RELEVANT), case.horizon
        )["a baseline is tied"]
        axis = next(iter(case.grid))
        if len(case.grid) > 1:
            # Seeds that move a run by little, so that ties can be shown at all.
            shifted = simulated_runs(random, case, RELEVANT, axis, share=SEED_SHARE / 4)
            claims["no effect of a setting, which has one of the margin"] = setting_claims(
                shifted, {axis: case.grid[axis]}
            )["a setting has no effect"]
        for claim, made in claims.items():
            entry = counts.setdefault(claim, [0, 0])
            entry[0] += made
            entry[1] += 1
    return counts


def power(sweeps: int, effect: float = 0.05, seed: int = 1) -> list[int]:
    """Return in how many of `sweeps` with five seeds an effect is named, and `sweeps`."""
    named = 0
    several = [case for case in cases(45) if len(case.grid) > 1]
    for number, case in zip(range(sweeps), itertools.cycle(several), strict=False):
        random = np.random.default_rng([seed, number])
        shape = Case(case.process, case.grid, 5, case.horizon, case.origins, case.series)
        axis = list(case.grid)[number % len(case.grid)]
        contrasts = setting_contrasts.setting_contrasts(
            simulated_runs(random, shape, effect, axis), tuple(case.grid), LOSS, RELEVANT
        )
        named += bool((contrasts.loc[contrasts["axis"] == axis, "finding"] == setting_contrasts.EFFECT).any())
    return [named, sweeps]


def textbook_p_value(difference: np.ndarray, horizon: int) -> float:
    """Return the p value of Diebold and Mariano with the correction of Harvey, Leybourne and Newbold (1997)."""
    n, centred = len(difference), difference - difference.mean()
    covariance = np.array([centred[lag:] @ centred[: n - lag] for lag in range(horizon)]) / n
    variance = covariance[0] + 2 * covariance[1:].sum()
    if variance <= 0:
        variance = covariance[0] + 2 * (1 - np.arange(1, horizon) / horizon) @ covariance[1:]
    correction = math.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    return float(2 * stdtr(n - 1, -abs(correction * difference.mean() / math.sqrt(variance / n))))


def loss_differences(
    random: np.random.Generator, horizon: int, origins: int, carried: float, *, of_losses: bool
) -> np.ndarray:
    """Return differences (origins,) of the losses of two equally good forecasters.

    Shocks add up over the horizon, for both alike, and each forecaster has a deviation of its own that keeps `carried`
    from one origin to the next. Or, `of_losses`, the harder case: what persists is the difference of the losses itself.
    """
    if of_losses:
        steps = persistent(random, carried, (origins + horizon - 1,))
        return np.convolve(steps, np.ones(horizon) / horizon, mode="valid")
    shocks = random.normal(size=origins + horizon)
    a, b = persistent(random, carried, (2, origins))
    sums = np.cumsum([shocks[step : step + origins] for step in range(1, horizon + 1)], axis=0)
    return np.mean(np.abs(sums + a) - np.abs(sums + b), axis=0)


def sizes(draws: int, seed: int = 2) -> list[dict[str, float]]:
    """Return how often equally good forecasters are told apart at 5 %: by the textbook test, and by this one."""
    rows = []
    for number, (horizon, origins, carried) in enumerate(SIZES):
        if origins <= horizon:
            continue
        row = {"horizon": horizon, "origins": origins, "autocorrelation": carried}
        for kind, of_losses in (("errors", False), ("losses", True)):
            random = np.random.default_rng([seed, number, of_losses])
            drawn = [loss_differences(random, horizon, origins, carried, of_losses=of_losses) for _ in range(draws)]
            zeros, own = np.zeros(origins), significance.diebold_mariano
            row[f"textbook, {kind}"] = float(np.mean([textbook_p_value(gap, horizon) < 0.05 for gap in drawn]))
            row[f"this test, {kind}"] = float(np.mean([own(gap, zeros, horizon).p_value < 0.05 for gap in drawn]))
        rows.append(row)
    return rows


def print_tables(results: dict[str, object]) -> None:
    """Print the recorded counts as tables."""
    print("claims that are not true, in simulated sweeps")
    for claim, (made, of) in results["claims"].items():
        print(f"  {claim:<62} {made:>4} of {of}  {100 * made / of:5.1f} %")
    named, of = results["power"]
    print(f"an effect of 5 % with 5 seeds is named in {named} of {of}")
    print("size of the test of equal accuracy at 5 %")
    print(pd.DataFrame(results["sizes"]).to_string(index=False, float_format="%.3f"))


def main() -> None:
    """Count, record and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=200)
    parser.add_argument("--draws", type=int, default=2000, help="draws for each row of the table of sizes")
    parser.add_argument("--recorded", action="store_true")
    arguments = parser.parse_args()
    if not arguments.recorded:
        results = {
            "claims": count_claims(arguments.sweeps),
            "power": power(arguments.sweeps),
            "sizes": sizes(arguments.draws),
        }
        RECORDED.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print_tables(json.loads(RECORDED.read_text(encoding="utf-8")))


if __name__ == "__main__":
    sys.exit(main())
