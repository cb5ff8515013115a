"""Search strategies: which runs of the grid are trained, and for how many epochs.

A strategy is a generator. It yields a round: the keys of runs, and the epoch up to which they are to be trained. It is
sent the cost of each of them so far: the metric of the selection as a number of which the lower is the better (infinite
for a run that failed). The same costs give the same rounds, so an interrupted sweep continues with the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from gridcast.config import Search, large_grid
from gridcast.config.grid import Run
from gridcast.sweep.asynchronous_halving import AshaRounds
from gridcast.sweep.search_space import MAX_REPEATED_PROPOSALS, Attempt, SearchSpace

RUNS_PER_ROUND = 8
"""Runs of a round of `tpe` and `asha`, and of `random` under a budget of minutes: enough to keep some workers busy."""
MAX_PROPOSALS = large_grid.MAX_RUNS
"""Runs that are proposed at most where the budget is one of minutes."""


class SearchRound(NamedTuple):
    """The runs of a round by key, and the epoch up to which they are trained: one for all, or one for each by key."""

    keys: list[str]
    until: int | Mapping[str, int]

    def until_of(self, key: str) -> int:
        """Return the epoch up to which a run of the round is trained."""
        return self.until if isinstance(self.until, int) else self.until[key]


SearchRounds = Generator[SearchRound, Mapping[str, float], None]


def search_rounds(
    search: Search, runs: Mapping[str, Run], epochs: int, space: SearchSpace | None = None
) -> SearchRounds:
    """Return the rounds of `search` over `runs` (by key), each of at most `epochs` epochs.

    `asha`, and `tpe` where there are ranges, propose runs in the `space` instead, and add them to its runs.
    """
    if space is not None and search.strategy == "asha":
        rungs = halving_rungs(epochs, search.reduction, search.rungs)
        return asha_search(space, rungs, reduction=search.reduction, limit=_run_limit(search, MAX_PROPOSALS))
    if space is not None and search.strategy == "tpe" and space.experiment.has_ranges:
        return proposed_search(space, epochs, limit=_run_limit(search, MAX_PROPOSALS))
    if search.strategy == "halving":
        rungs = halving_rungs(epochs, search.reduction, search.rungs)
        return successive_halving(list(runs), rungs, search.reduction)
    limit = _run_limit(search, len(runs))
    if search.strategy == "random":
        return random_search(list(runs), epochs, limit=limit, seed=search.seed)
    if search.strategy == "tpe":
        return tpe_search(runs, epochs, limit=limit, seed=search.seed)
    return whole_grid(list(runs), epochs)


def _run_limit(search: Search, count: int) -> int:
    return search.budget.runs if search.budget and search.budget.runs else count


class SearchEffort(NamedTuple):
    """Largest shares of the whole grid that a search trains: of its runs to their end, and of its epochs."""

    runs: float
    epochs: float


def search_effort(search: Search, count: int, epochs: int) -> SearchEffort:
    """Return how much of `count` runs of at most `epochs` epochs `search` trains; all of it where the count is 0."""
    count = max(count, 1)
    if search.strategy in ("halving", "asha"):
        started = min(_run_limit(search, count), count)
        remaining, trained_until, spent, last = started, 0, 0, started
        for rung in halving_rungs(epochs, search.reduction, search.rungs):
            spent += remaining * (rung - trained_until)
            last, trained_until = remaining, rung
            remaining = math.ceil(remaining / search.reduction)
        return SearchEffort(last / count, spent / (count * epochs))
    share = min(_run_limit(search, count), count) / count
    return SearchEffort(share, share)


def whole_grid(keys: list[str], epochs: int) -> SearchRounds:
    """Yield all runs, to their end."""
    yield SearchRound(keys, epochs)


def halving_rungs(epochs: int, reduction: int, count: int) -> tuple[int, ...]:
    """Return the epochs at which halving compares: at most `count`, the last of them `epochs`."""
    return tuple(sorted({max(1, epochs // reduction**power) for power in range(count)}))


def successive_halving(keys: list[str], rungs: tuple[int, ...], reduction: int) -> SearchRounds:
    """Yield all runs up to the first rung, the best 1 / `reduction` of them up to the next, and so on.

    Source: Jamieson and Talwalkar (2016), "Non-stochastic Best Arm Identification and Hyperparameter
    Optimization".
    """
    for rung in rungs:
        losses = yield SearchRound(keys, rung)
        best = sorted(keys, key=lambda key: losses[key])
        survivors = set(best[: math.ceil(len(best) / reduction)])
        keys = [key for key in keys if key in survivors and math.isfinite(losses[key])]
        if not keys:
            return


def random_search(keys: list[str], epochs: int, *, limit: int, seed: int) -> SearchRounds:
    """Yield `limit` randomly chosen runs, each at most once."""
    drawn = [keys[k] for k in np.random.default_rng(seed).permutation(len(keys))[:limit]]
    for start in range(0, len(drawn), RUNS_PER_ROUND):
        yield SearchRound(drawn[start : start + RUNS_PER_ROUND], epochs)


def proposed_search(space: SearchSpace, epochs: int, *, limit: int) -> SearchRounds:
    """Yield up to `limit` runs that the tree-structured Parzen estimator proposes in `space`, to their end."""
    attempts: list[Attempt] = []
    while len(attempts) < limit:
        batch: list[Attempt] = []
        while len(batch) < min(RUNS_PER_ROUND, limit - len(attempts)):
            attempt = space.propose([*attempts, *batch])
            if attempt is None:
                break
            batch.append(attempt)
        if not batch:
            return
        costs = yield SearchRound([attempt.key for attempt in batch], epochs)
        for attempt in batch:
            attempt.costs[epochs], attempt.is_complete = costs[attempt.key], True
        attempts += batch


def asha_search(space: SearchSpace, rungs: tuple[int, ...], *, reduction: int, limit: int) -> SearchRounds:
    """Yield the rounds of `AshaRounds` of at most `limit` runs."""
    rounds = AshaRounds(space, rungs, reduction=reduction, limit=limit, size=RUNS_PER_ROUND).rounds()
    costs: Mapping[str, float] | None = None
    while True:
        try:
            until = next(rounds) if costs is None else rounds.send(costs)
        except StopIteration:
            return
        costs = yield SearchRound(list(until), until)


def tpe_search(runs: Mapping[str, Run], epochs: int, *, limit: int, seed: int) -> SearchRounds:
    """Yield `limit` runs, each at most once, proposed by Optuna's tree-structured Parzen estimator.

    The estimator knows only the product of the axes. A proposal outside the declared grids, or of a run that
    failed or is in this round already, is reported to it as failed; one that was trained before, with the
    loss that it had. Neither is trained.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings = {key: {**run.configuration.settings(), "seed": run.seed} for key, run in runs.items()}
    names = dict.fromkeys(name for of_run in settings.values() for name in of_run)
    values = {name: _sorted_distinct(one[name] for one in settings.values() if name in one) for name in names}
    axes = {name: optuna.distributions.CategoricalDistribution(v) for name, v in values.items() if len(v) > 1}
    # A network has no use for the settings that only others have, whatever is proposed for them.
    has = {of_run["layer"]: of_run.keys() for of_run in settings.values()}
    only_layer = next(iter(has))

    def key_of(proposal: Mapping[str, Any]) -> tuple[Any, ...]:
        names_of_layer = has[proposal.get("layer", only_layer)]
        return tuple(proposal[name] if name in names_of_layer else None for name in axes)

    by_settings = {key_of(of_run): key for key, of_run in settings.items()}
    shuffled = [list(runs)[k] for k in np.random.default_rng(seed).permutation(len(runs))]
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True))
    failed = optuna.trial.TrialState.FAIL
    losses: dict[str, float] = {}
    limit = min(limit, len(runs))
    while len(losses) < limit:
        trials: dict[str, Any] = {}  # None for a run that the estimator did not propose
        repeated = 0
        while len(trials) < min(RUNS_PER_ROUND, limit - len(losses)):
            if repeated == MAX_REPEATED_PROPOSALS:
                key = next(key for key in shuffled if key not in losses and key not in trials)
                trials[key], repeated = None, 0
                continue
            trial = study.ask(axes)
            proposal = by_settings.get(key_of(trial.params))
            if proposal is None or proposal in trials or not math.isfinite(losses.get(proposal, 0.0)):
                study.tell(trial, state=failed)
                repeated += 1
            elif proposal in losses:
                study.tell(trial, losses[proposal])
                repeated += 1
            else:
                trials[proposal] = trial
        round_losses = yield SearchRound(list(trials), epochs)
        for key, trial in trials.items():
            losses[key] = round_losses[key]
            if trial is not None and math.isfinite(losses[key]):
                study.tell(trial, losses[key])
            elif trial is not None:
                study.tell(trial, state=failed)


def _sorted_distinct(values: Iterable[Any]) -> list[Any]:
    return sorted(set(values))
