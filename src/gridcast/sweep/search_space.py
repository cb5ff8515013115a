"""The space of a search: the values of its axes, and proposals in it by Optuna's tree-structured Parzen estimator."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gridcast.config import Experiment, Range, grid, large_grid, values_of
from gridcast.config.grid import Run

MAX_REPEATED_PROPOSALS = 50
"""Successive proposals of runs that the search has already, after which it takes a random run."""
SEED_AXIS = "seed"


@dataclass
class Attempt:
    """A run that a search has proposed, by its key, and its `costs` by the last epoch that they are about.

    It is at its end where `is_complete`, and under way without costs. A cost is infinite for a run that failed.
    """

    key: str
    run: Run
    costs: dict[int, float] = field(default_factory=dict)
    is_complete: bool = False

    @property
    def has_failed(self) -> bool:
        """Whether some cost is not finite."""
        return not all(map(math.isfinite, self.costs.values()))


@dataclass(frozen=True)
class SearchSpace:
    """The axes of an experiment's grids with the runs in them.

    `runs` are all of them by key where the grids are lists of values. In a space with ranges they are those proposed so
    far, to which each proposal is added under the key that `key_of` gives it.
    """

    experiment: Experiment
    runs: dict[str, Run]
    key_of: Callable[[Run], str]

    def propose(self, attempts: Sequence[Attempt]) -> Attempt | None:
        """Return a run that is not among `attempts`, None where there is no other: a function of these alone.

        The estimator learns from the costs of the `attempts`, and keeps away from those under way.
        """
        import optuna

        taken = {attempt.key for attempt in attempts}
        seed = _derived_seed(self.experiment.search.seed, len(attempts))
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        axes = distributions(self.experiment)
        study = make_study(attempts, axes, sampler=sampler)
        keys = {} if self.experiment.has_ranges else {run: key for key, run in self.runs.items()}
        for _ in range(MAX_REPEATED_PROPOSALS if axes else 0):
            trial = study.ask(axes)
            run = self._run_of(trial.params)
            key = self.key_of(run) if self.experiment.has_ranges else keys.get(run)
            if key is not None and key not in taken:
                return self._attempt(key, run)
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return self._random_attempt(taken)

    def _run_of(self, params: Mapping[str, Any]) -> Run:
        settings = {}
        for axes in self.experiment.grid:
            for axis, values in axes.items():
                drawn = params.get(axis, values_of(values)[0])
                settings[axis] = values.value(drawn) if isinstance(values, Range) else drawn
        seed = params.get(SEED_AXIS, self.experiment.training.seeds[0])
        return Run(self.experiment.configuration(**settings), seed)

    def _attempt(self, key: str, run: Run) -> Attempt:
        self.runs[key] = run
        return Attempt(key, run)

    def _random_attempt(self, taken: set[str]) -> Attempt | None:
        """Return the first run that is not among the keys `taken`, in a random order that depends on the seed alone."""
        if not self.experiment.has_ranges:
            keys = sorted(self.runs)
            random.Random(self.experiment.search.seed).shuffle(keys)
            return next((Attempt(key, self.runs[key]) for key in keys if key not in taken), None)
        for settings, seed in large_grid.drawn_from_ranges(self.experiment, len(taken) + 1):
            run = Run(self.experiment.configuration(**settings), seed)
            if (key := self.key_of(run)) not in taken:
                return self._attempt(key, run)
        return None


def distributions(experiment: Experiment) -> dict[str, Any]:
    """Return Optuna's distribution of each axis with several values, the seed of training included."""
    from optuna.distributions import CategoricalDistribution

    axes: dict[str, Any] = {}
    ranges = grid.joined_ranges(experiment)
    for axis in grid.axes(experiment):
        values = CategoricalDistribution(_sorted(experiment.trained_values(axis)))
        axes[axis] = range_distribution(ranges[axis]) if axis in ranges else values
    if len(seeds := sorted(set(experiment.training.seeds))) > 1:
        axes[SEED_AXIS] = CategoricalDistribution(seeds)
    return axes


def range_distribution(one: Range) -> Any:
    """Return a range as Optuna's distribution."""
    from optuna.distributions import FloatDistribution, IntDistribution

    if one.is_integer:
        return IntDistribution(int(one.low), int(one.high), log=one.log, step=int(one.step or 1))
    return FloatDistribution(one.low, one.high, log=one.log, step=one.step)


def make_study(attempts: Sequence[Attempt], axes: Mapping[str, Any], **options: Any) -> Any:
    """Return an Optuna study that holds `attempts` as trials over `axes`; further options are those of the study."""
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(**options)
    trials = []
    for attempt in attempts:
        settings = {**attempt.run.configuration.settings(), SEED_AXIS: attempt.run.seed}
        state, value = TrialState.PRUNED, None
        if attempt.has_failed:
            state = TrialState.FAIL
        elif not attempt.costs:
            state = TrialState.RUNNING
        elif attempt.is_complete:
            state, value = TrialState.COMPLETE, attempt.costs[max(attempt.costs)]
        trials.append(
            optuna.trial.create_trial(
                state=state,
                value=value,
                params={axis: settings.get(axis, _some_value(values)) for axis, values in axes.items()},
                distributions=dict(axes),
                intermediate_values={} if attempt.has_failed else dict(attempt.costs),
            )
        )
    study.add_trials(trials)
    return study


def _some_value(distribution: Any) -> Any:
    """A value for a network that does not have the setting, so that each trial has all of them."""
    return distribution.choices[0] if hasattr(distribution, "choices") else distribution.low


def _derived_seed(seed: int, number: int) -> int:
    """Return the seed of the proposal with this number, so that it does not depend on how the others were made."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4])


def _sorted(values: set[Any]) -> list[Any]:
    return sorted(values, key=lambda value: (value is None, str(type(value)), value))
