"""From an experiment to its runs and their keys: pure, and in a stable order."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from gridcast.config import AXES, READING_KEYS, Configuration, Experiment, Range, large_grid, values_of
from gridcast.config.sections import FORMER_CALENDAR, FORMER_FREQUENCY

# The four versions below are hashed into run keys. A sweep trains what its store does not have under these keys, and
# takes the rest from there. So raise a version in the same commit as any change after which the same settings would
# give other weights, forecasts or scores (initialisation, order of batches, objective, what is scaled by what): runs
# of before are then trained again instead of being mixed with new ones. Raise the one that is narrowest: SEMANTICS
# makes every finished run of every user obsolete. Do not raise one for refactorings, speed, logging or reports.
# `tests/test_golden.py` fails when weights change, and names the version to raise.
SEMANTICS = 3
"""Version of training, for every task.

2: steps filled by `gaps: ffill` or `interpolate` are neither targets nor counted by scalers.
3: dropout has a random generator of its own, so that its rate is a value of the compiled program.
"""
PROBABILISTIC_SEMANTICS = 2
"""Version of what only task: probabilistic has. 2: windows are read around their means."""
DETECTION_SEMANTICS = 4
"""Version of what only task: anomaly has. 4: statistics and threshold are fitted on the validation span too."""
COVARIATE_SEMANTICS = 2
"""Version of the scaling of covariates. It is hashed only if some value of a covariate is scaled differently by it.

2: covariates have bounds, and one that is constant in training has the scale of all series.
"""

DATA_KEYS = ("time", "series", "target", "past", "future", "static", "frequency", "calendar", "gaps")
"""Keys of `data` that a model carries to read tables in use."""
DATA_KEYS_IF_SET = ("aggregate", "zero_runs", "time_zone", "short", *(key for key in READING_KEYS if key != "dates"))
"""More of them, hashed only if set: the keys of runs from before they existed stay valid."""
SHARE_KEYS, FOLD_KEYS = {"train", "validation", "test"}, {"folds", "expanding"}


@dataclass(frozen=True)
class Run:
    """One configuration with one seed on one fold; of one `series` (its id), or of all of them together (None)."""

    configuration: Configuration
    seed: int
    fold: int = 0
    series: str | None = None


def configurations(experiment: Experiment) -> tuple[Configuration, ...]:
    """Return the configurations of all grids, in the order of the file, without duplicates."""
    unique = {
        experiment.configuration(**dict(zip(grid, values, strict=True))): None
        for grid in experiment.grid
        for values in itertools.product(*map(values_of, grid.values()))
    }
    return tuple(unique)


def expand(experiment: Experiment, series: Sequence[str] = ()) -> tuple[Run, ...]:
    """Return the runs of `experiment`: each configuration with each seed on each fold.

    In local mode once for each of `series`, in auto mode for all series together and for each of them. Of a grid that
    is too large for its search, see `large_grid`, only those that it may train; of a grid with ranges those that
    `random` draws, and none where the search proposes them. Raises ConfigError for too many runs.
    """
    seeds, folds = dict.fromkeys(experiment.training.seeds), range(experiment.split.folds or 1)
    subjects: list[str | None] = [] if experiment.mode == "local" else [None]
    subjects += series if experiment.mode != "global" else ()
    large_grid.check_size(experiment, len(subjects))
    if experiment.has_ranges:
        return drawn_runs(experiment) if experiment.search.strategy == "random" else ()
    if large_grid.is_too_large(experiment):
        return _searchable_runs(experiment)
    return tuple(
        Run(configuration, seed, fold, subject)
        for subject in subjects
        for configuration in configurations(experiment)
        for seed in seeds
        for fold in folds
    )


def drawn_runs(experiment: Experiment) -> tuple[Run, ...]:
    """Return random runs of a grid with ranges, as many as the budget of the search allows."""
    budget = experiment.search.budget
    count = budget.runs if budget is not None and budget.runs else large_grid.MAX_DRAWN
    drawn = large_grid.drawn_from_ranges(experiment, count)
    return tuple(Run(experiment.configuration(**settings), seed) for settings, seed in drawn)


def _searchable_runs(experiment: Experiment) -> tuple[Run, ...]:
    """The runs of a grid too large to be expanded that its search, `random` or `tpe`, may train."""
    if experiment.search.strategy == "random":
        drawn = large_grid.drawn_settings(experiment)
        return tuple(dict.fromkeys(Run(experiment.configuration(**settings), seed) for settings, seed in drawn))
    seeds = tuple(dict.fromkeys(experiment.training.seeds))
    grids = large_grid.thinned_grids(experiment.grid, large_grid.MAX_EXPANDED // len(seeds))
    thinned = configurations(experiment.model_copy(update={"grid": tuple(grids)}))
    return tuple(Run(configuration, seed) for configuration in thinned for seed in seeds)


def shared_program(run: Run) -> Run:
    """Return `run` without what is a value of its compiled program: runs that agree in the rest can train together.

    These values (learning rate, dropout, epochs, seed and, for a single series, the series) are set to fixed ones. A
    plug-in does with the dropout what it likes, so there it is part of the program.
    """
    values: dict[str, Any] = {"learning_rate": 1.0, "epochs": None}
    if not run.configuration.is_plugin:
        values["dropout"] = 0.0
    shape = run.configuration.model_copy(update=values)
    return Run(shape, 0, run.fold, None if run.series is None else "")


def axes(experiment: Experiment) -> tuple[str, ...]:
    """Return the settings with more than one value in the grid, in the order of `AXES`, those of plug-ins last."""
    names = (*AXES, *experiment.own_axes)
    return tuple(axis for axis in names if len(experiment.trained_values(axis)) > 1)


def joined_ranges(experiment: Experiment) -> dict[str, Range]:
    """Return the axes that are a range in some grid, in the order of `AXES`, each with the values of all its ranges.

    Several ranges of an axis are joined without their steps, and from the lowest to the highest value of all grids.
    """
    joined = {}
    for axis in (*AXES, *experiment.own_axes):
        ranges = [values for grid in experiment.grid if isinstance(values := grid.get(axis), Range)]
        if len(ranges) == 1 and len(experiment.grid) == 1:
            joined[axis] = replace(ranges[0], high=ranges[0].last)
        elif ranges:
            ends = experiment.trained_values(axis)
            joined[axis] = Range(min(ends), max(ends), all(one.log for one in ranges), None, ranges[0].is_integer)
    return joined


def run_key(
    experiment: Experiment,
    run: Run,
    *,
    fingerprint: str,
    backend: str,
    series_name: str | None = None,
    has_bounded_covariates: bool = False,
) -> str:
    """Return the SHA-256 over everything that decides the weights of `run` and how its model reads a table.

    `fingerprint` is the digest of the panel, ids of series included. The names of files and of the experiment do not
    count, so that a renamed experiment finds its finished runs. `series_name` is hashed for the series of a local run
    instead of its id, see `Panel.plain_series`. `has_bounded_covariates` says that the panel has a covariate that is
    read otherwise than in version 1 of `COVARIATE_SEMANTICS`.
    """
    data, training, split = experiment.data, experiment.training, experiment.split
    settings: dict[str, Any] = {
        "semantics": SEMANTICS,
        "fingerprint": fingerprint,
        "backend": backend,
        "seed": run.seed,
        "configuration": run.configuration.settings(),
        "window": experiment.window.model_dump(exclude={"lookback"}),
        "split": split.model_dump(include=SHARE_KEYS if split.folds is None else FOLD_KEYS),
        "transform": experiment.transform.model_dump(exclude={"floor"})
        | experiment.transform.model_dump(include={"floor"}, exclude_defaults=True),
        "data": data.model_dump(include=set(DATA_KEYS))
        | {"frequency": data.frequency or FORMER_FREQUENCY, "calendar": data.calendar or FORMER_CALENDAR}
        | data.model_dump(include=_data_keys_if_set(experiment), exclude_defaults=True),
        "training": training.model_dump(include={"epochs", "patience", "steps"}, exclude_none=True)
        # As an axis they take the place of those of the section, which then decide nothing.
        | ({} if run.configuration.epochs is None else {"epochs": run.configuration.epochs})
        | training.model_dump(include={"decay"}, exclude_defaults=True),
    }
    if experiment.task == "probabilistic":
        settings["probabilistic"] = {**experiment.probabilistic.model_dump(), "semantics": PROBABILISTIC_SEMANTICS}
    if experiment.task == "anomaly":
        settings["anomaly"] = {
            **experiment.anomaly.model_dump(exclude={"false_alarms"}),
            **experiment.anomaly.model_dump(include={"false_alarms"}, exclude_none=True),
            "semantics": DETECTION_SEMANTICS,
        }
    # Absent where they do not apply, so that the keys of runs from before they existed stay valid.
    if split.folds is not None:
        settings |= {"fold": run.fold, "steps": experiment.fold_steps}
    if run.series is not None:
        settings["series"] = run.series if series_name is None else series_name
    if has_bounded_covariates:
        settings["covariates"] = COVARIATE_SEMANTICS
    settings |= _plugin_keys(experiment, run)
    return hashlib.sha256(json.dumps(settings, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _plugin_keys(experiment: Experiment, run: Run) -> dict[str, Any]:
    """Name and source of the plug-ins that take part in `run`."""
    network = experiment.plugins.networks.get(run.configuration.layer)
    keys: dict[str, Any] = {"network": network.key} if network else {}
    return keys | ({"callbacks": [plugin.key for plugin in experiment.callbacks]} if experiment.callbacks else {})


def _data_keys_if_set(experiment: Experiment) -> set[str]:
    # Blanks were filled with the value before them when there was no key for it.
    return set(DATA_KEYS_IF_SET) - ({"blanks"} if experiment.data.blanks == "ffill" else set())
