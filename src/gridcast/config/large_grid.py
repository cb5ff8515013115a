"""Grids too large to be expanded: counted, drawn from, and thinned out without their product."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from gridcast.config import Experiment, Range
from gridcast.runtime.errors import ConfigError

MAX_RUNS = 100_000
"""Runs that one sweep may have."""
MANY_RUNS = 5_000
"""Runs from which on a sweep takes so long that `validate` warns."""
MAX_DRAWN = 2_000
"""Runs that `random` draws from ranges where its budget is one of minutes."""
MAX_EXPANDED = 20_000
"""Runs of a grid that `random` and `tpe` search as a whole; of a larger one they never hold more."""
MAX_DRAWS_EACH = 50
"""Draws for each run that is wanted, after which no others are there."""
Grid = Mapping[str, Any]
"""Values or a `Range` by axis."""


def count_configurations(grids: Sequence[Grid]) -> int:
    """Return the number of configurations of all `grids`, duplicates counted; none of them has a range."""
    return sum(_size(grid) for grid in grids)


def check_size(experiment: Experiment, subjects: int = 1) -> None:
    """Raise ConfigError where the sweep would have more than MAX_RUNS runs; `subjects` have each configuration."""
    search, seeds = experiment.search, len(set(experiment.training.seeds))
    if search.budget is not None:
        return
    runs = count_configurations(experiment.grid) * subjects * seeds * (experiment.split.folds or 1)
    if runs <= MAX_RUNS:
        return
    remedy = "give fewer values"
    if experiment.mode == "global" and experiment.split.folds is None:
        remedy += ", or search a part of it: search: {strategy: random, budget: {runs: 200}}"
    raise ConfigError(f"grid: {runs:,} runs are more than one sweep can have (at most {MAX_RUNS:,}); {remedy}")


def is_too_large(experiment: Experiment) -> bool:
    """Whether a search with a budget takes a part of the grid, see MAX_EXPANDED."""
    if experiment.search.budget is None or experiment.has_ranges:
        return False
    runs = count_configurations(experiment.grid) * len(set(experiment.training.seeds))
    return runs > MAX_EXPANDED


def drawn_settings(experiment: Experiment) -> list[tuple[dict[str, Any], int]]:
    """Return distinct settings of the grids with a seed of training each, drawn at random by `search.seed`.

    As many as the budget of runs allows, and no more than MAX_EXPANDED.
    """
    search, seeds = experiment.search, tuple(dict.fromkeys(experiment.training.seeds))
    total = count_configurations(experiment.grid) * len(seeds)
    count = min(search.budget.runs if search.budget and search.budget.runs else total, MAX_EXPANDED)
    drawn = []
    for position in random.Random(search.seed).sample(range(total), count):
        number, seed = divmod(position, len(seeds))
        drawn.append((_settings_at(experiment.grid, number), seeds[seed]))
    return drawn


def drawn_from_ranges(experiment: Experiment, count: int) -> list[tuple[dict[str, Any], int]]:
    """Return up to `count` distinct settings of grids with ranges, with a seed of training each, by `search.seed`.

    Fewer where no others are found. A larger count begins with the same ones.
    """
    generator = random.Random(experiment.search.seed)
    seeds = tuple(dict.fromkeys(experiment.training.seeds))
    drawn: dict[Any, tuple[dict[str, Any], int]] = {}
    for _ in range(MAX_DRAWS_EACH * count):
        grid = experiment.grid[generator.randrange(len(experiment.grid))]
        settings = {axis: _draw(values, generator) for axis, values in grid.items()}
        seed = seeds[generator.randrange(len(seeds))]
        drawn.setdefault((experiment.configuration(**settings), seed), (settings, seed))
        if len(drawn) == count:
            break
    return list(drawn.values())


def _draw(values: Sequence[Any] | Range, generator: random.Random) -> Any:
    return values.draw(generator) if isinstance(values, Range) else values[generator.randrange(len(values))]


def thinned_grids(grids: Sequence[Grid], limit: int) -> list[dict[str, tuple[Any, ...]]]:
    """Return `grids` with fewer values of their longest axes, spread evenly, of at most `limit` configurations."""
    thinned = []
    for grid in grids:
        values = {axis: tuple(of_axis) for axis, of_axis in grid.items()}
        while _size(values) > max(1, limit // len(grids)):
            longest = max(values, key=lambda axis: len(values[axis]))
            values[longest] = _spread(values[longest], math.ceil(len(values[longest]) / 2))
        thinned.append(values)
    return thinned


def _spread(values: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """The first and the last of `values`, and others between them at even distances: `count` in all."""
    if count == 1:
        return values[:1]
    return tuple(values[round(k * (len(values) - 1) / (count - 1))] for k in range(count))


def _size(grid: Grid) -> int:
    return math.prod(map(len, grid.values()))


def _settings_at(grids: Sequence[Grid], number: int) -> dict[str, Any]:
    """The settings at position `number` of all configurations of `grids`, in the order of `itertools.product`."""
    starts = itertools.accumulate(map(_size, grids), initial=0)
    start, grid = next(
        (start, grid) for start, grid in zip(starts, grids, strict=False) if number < start + _size(grid)
    )
    number -= start
    settings = {}
    for axis, values in reversed(list(grid.items())):
        number, place = divmod(number, len(values))
        settings[axis] = values[place]
    return {axis: settings[axis] for axis in grid}
