"""Which runs of the declared grid are trained, and how far, when not all are trained to their end.

A strategy is a generator. It yields a round: keys of runs, and the epochs up to which they are to be
trained; it is sent the lowest validation loss of each of them so far (infinite for one that failed).
The same losses give the same rounds, so a sweep that was interrupted asks for the same again.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from gridcast.config import Search
from gridcast.config.grid import Run

Losses = Mapping[str, float]
SearchRound = tuple[list[str], int]
SearchRounds = Generator[SearchRound, Losses, None]
RUNS_PER_ROUND = 8
"""Runs of a round of `tpe` and of `random` under a budget of minutes: enough to keep some workers busy."""
MAX_REPEATED_PROPOSALS = 50
"""Proposals of `tpe` in a row that were trained already, after which it takes what chance gives."""


def search_rounds(search: Search, runs: Mapping[str, Run], epochs: int) -> SearchRounds:
    """The rounds of `search` over `runs` (by key) of at most so many `epochs`."""
    if search.strategy == "halving":
        return successive_halving(list(runs), halving_rungs(epochs, search.reduction, search.rungs), search.reduction)
    budget = search.budget
    limit = budget.runs if budget and budget.runs else len(runs)
    if search.strategy == "random":
        return random_search(list(runs), epochs, limit, search.seed)
    if search.strategy == "tpe":
        return tpe_search(runs, epochs, limit, search.seed)
    return whole_grid(list(runs), epochs)


class SearchEffort(NamedTuple):
    """Shares of the whole grid that a search trains at most: of its runs to their end, and of its epochs."""

    runs: float
    epochs: float


def search_effort(search: Search, count: int, epochs: int) -> SearchEffort:
    """How much `search` trains of `count` runs of at most so many `epochs`."""
    if search.strategy == "halving":
        left, before, spent = count, 0, 0
        for rung in halving_rungs(epochs, search.reduction, search.rungs):
            last, spent, before = left, spent + left * (rung - before), rung
            left = math.ceil(left / search.reduction)
        return SearchEffort(last / count, spent / (count * epochs))
    limit = search.budget.runs if search.budget and search.budget.runs else count
    return SearchEffort(min(limit, count) / count, min(limit, count) / count)


def whole_grid(keys: list[str], epochs: int) -> SearchRounds:
    """All runs, to their end."""
    yield keys, epochs


def halving_rungs(epochs: int, reduction: int, count: int) -> tuple[int, ...]:
    """Epochs at which halving compares, `count` of them at most, the last of them all `epochs`."""
    return tuple(sorted({max(1, epochs // reduction**power) for power in range(count)}))


def successive_halving(keys: list[str], rungs: tuple[int, ...], reduction: int) -> SearchRounds:
    """All runs to the first rung, the best 1 / `reduction` of them to the next, and so on to the end.

    Source: Jamieson and Talwalkar (2016), "Non-stochastic Best Arm Identification and Hyperparameter
    Optimization".
    """
    for rung in rungs:
        losses = yield keys, rung
        best = sorted(keys, key=lambda key: losses[key])
        chosen = set(best[: math.ceil(len(best) / reduction)])
        keys = [key for key in keys if key in chosen and math.isfinite(losses[key])]
        if not keys:
            return


def random_search(keys: list[str], epochs: int, limit: int, seed: int) -> SearchRounds:
    """`limit` runs that chance picks, each at most once."""
    drawn = [keys[k] for k in np.random.default_rng(seed).permutation(len(keys))[:limit]]
    for start in range(0, len(drawn), RUNS_PER_ROUND):
        yield drawn[start : start + RUNS_PER_ROUND], epochs


def tpe_search(runs: Mapping[str, Run], epochs: int, limit: int, seed: int) -> SearchRounds:
    """`limit` runs, each at most once, that Optuna's tree-structured Parzen estimator proposes from what it saw.

    A proposal outside of the declared grids, or of a run that was proposed before, is answered from
    what is known and not trained.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings = {key: {**run.configuration.settings(), "seed": run.seed} for key, run in runs.items()}
    values = {name: _sorted_distinct(own[name] for own in settings.values()) for name in next(iter(settings.values()))}
    axes = {name: optuna.distributions.CategoricalDistribution(own) for name, own in values.items() if len(own) > 1}
    by_settings = {tuple(own[name] for name in axes): key for key, own in settings.items()}
    rest = [list(runs)[k] for k in np.random.default_rng(seed).permutation(len(runs))]
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True))
    known: dict[str, float] = {}
    limit = min(limit, len(runs))
    while len(known) < limit:
        asked: dict[str, Any] = {}
        vain = 0
        while len(asked) < min(RUNS_PER_ROUND, limit - len(known)):
            if vain == MAX_REPEATED_PROPOSALS:
                key = next(key for key in rest if key not in known and key not in asked)
                asked[key], vain = None, 0
                continue
            trial = study.ask(axes)
            proposed = by_settings.get(tuple(trial.params[name] for name in axes))
            if proposed is None or proposed in asked or not math.isfinite(known.get(proposed, 0.0)):
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                vain += 1
            elif proposed in known:
                study.tell(trial, known[proposed])
                vain += 1
            else:
                asked[proposed] = trial
        losses = yield list(asked), epochs
        for key, trial in asked.items():
            known[key] = losses[key]
            if trial is not None and math.isfinite(losses[key]):
                study.tell(trial, losses[key])
            elif trial is not None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _sorted_distinct(values: Iterable[Any]) -> list[Any]:
    return sorted(set(values))
