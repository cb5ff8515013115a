"""From an experiment to its runs: pure, and stable in order."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gridcast.config import AXES, Configuration, Experiment

SEMANTICS = 3
"""Version of what training means: raise it when the same settings would give other weights.

2: steps filled by `gaps: ffill` or `interpolate` are no targets and count for no scaler.
3: dropout draws by itself, so that its rate is a value of the program.
"""
PROBABILISTIC_SEMANTICS = 2
"""The same of what holds for probabilistic tasks alone. 2: windows are read around their means."""
DETECTION_SEMANTICS = 4
"""The same of what holds for anomalies alone. 4: what is usual, and the threshold, are of the validation span too."""
DATA_KEYS = ("time", "series", "target", "past", "future", "static", "frequency", "calendar", "gaps")
"""What the model carries of `data`, to read the tables that it is given in use."""
DATA_KEYS_IF_SET = ("aggregate", "zero_runs")
"""More of it, which counts where it is set: runs from before there was such a thing are found again."""
SHARE_KEYS, FOLD_KEYS = {"train", "validation", "test"}, {"folds", "expanding"}


@dataclass(frozen=True)
class Run:
    """One configuration with one seed, on one fold; of one `series`, or of all of them together."""

    configuration: Configuration
    seed: int
    fold: int = 0
    series: str | None = None


def configurations(experiment: Experiment) -> tuple[Configuration, ...]:
    """Every configuration of the united grids, in the order of the file, duplicates removed."""
    found = {
        experiment.configuration(**dict(zip(grid, values, strict=True))): None
        for grid in experiment.grid
        for values in itertools.product(*grid.values())
    }
    return tuple(found)


def expand(experiment: Experiment, series: Sequence[str] = ()) -> tuple[Run, ...]:
    """Every run of `experiment`: each configuration with each seed on each fold.

    In local mode once for each of `series`, in auto mode for each of them and for all together.
    """
    seeds, folds = dict.fromkeys(experiment.training.seeds), range(experiment.split.folds or 1)
    own: list[str | None] = [] if experiment.mode == "local" else [None]
    own += series if experiment.mode != "global" else ()
    return tuple(
        Run(c, seed, fold, one) for one in own for c in configurations(experiment) for seed in seeds for fold in folds
    )


def shared_program(run: Run) -> Run:
    """What of `run` makes its compiled program: siblings, which have it in common, can train abreast.

    Learning rate, dropout, seed and, of local runs, the series are values in the program, here set to any.
    """
    shape = run.configuration.model_copy(update={"learning_rate": 1.0, "dropout": 0.0})
    return Run(shape, 0, run.fold, None if run.series is None else "")


def axes(experiment: Experiment) -> tuple[str, ...]:
    """The settings that take more than one value somewhere in the grid, in the order of `AXES`."""
    found = configurations(experiment)
    return tuple(axis for axis in AXES if len({getattr(c, axis) for c in found}) > 1)


def run_key(experiment: Experiment, run: Run, *, fingerprint: str, backend: str, series_name: str | None = None) -> str:
    """SHA-256 over all that decides the model of `run`, its weights and how it reads a table: same key, same work.

    `fingerprint` is the digest of the panel, names of series included. Names of files and of the
    experiment itself do not count, so a renamed experiment file finds its old runs.
    """
    settings: dict[str, Any] = {
        "semantics": SEMANTICS,
        "fingerprint": fingerprint,
        "backend": backend,
        "seed": run.seed,
        "configuration": run.configuration.settings(),
        "window": experiment.window.model_dump(exclude={"lookback"}),
        "split": experiment.split.model_dump(include=SHARE_KEYS if experiment.split.folds is None else FOLD_KEYS),
        "transform": experiment.transform.model_dump(),
        "data": experiment.data.model_dump(include=set(DATA_KEYS))
        | experiment.data.model_dump(include=set(DATA_KEYS_IF_SET), exclude_defaults=True),
        "training": experiment.training.model_dump(include={"epochs", "patience", "steps"}, exclude_none=True)
        | experiment.training.model_dump(include={"decay"}, exclude_defaults=True),
    }
    if experiment.task == "probabilistic":
        settings["probabilistic"] = {**experiment.probabilistic.model_dump(), "semantics": PROBABILISTIC_SEMANTICS}
    if experiment.task == "anomaly":
        settings["anomaly"] = {**experiment.anomaly.model_dump(), "semantics": DETECTION_SEMANTICS}
    # Left out where they do not apply, so that the keys of such runs are those of before there were any.
    settings |= {} if experiment.split.folds is None else {"fold": run.fold, "steps": experiment.fold_steps}
    settings |= {} if run.series is None else {"series": series_name or run.series}
    return hashlib.sha256(json.dumps(settings, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
