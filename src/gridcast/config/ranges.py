"""Ranges of a setting, from which `random`, `tpe` and `asha` draw values instead of a list."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

INTEGER_AXES = ("layers", "units", "batch_size", "lookback", "latent", "epochs")
NUMERIC_AXES = (*INTEGER_AXES, "dropout", "learning_rate")
KEYS = ("low", "high", "log", "step")
DIGITS = 4
"""Significant digits of a drawn number: run keys and names show it as it is."""


@dataclass(frozen=True)
class Range:
    """The values from `low` to `high`, both included: evenly likely, or their logarithms where it is `log`.

    Those of an `is_integer` range are whole numbers; with a `step` they are low, low + step and so on.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    is_integer: bool = False

    @property
    def last(self) -> float:
        """The highest value that can be drawn."""
        if self.step is None:
            return self.high
        return self.value(self.low + self.step * math.floor((self.high - self.low) / self.step + 1e-9))

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        return self.value(self.low), self.value(self.last)

    def value(self, number: float) -> float:
        """Return the value of the range for a drawn `number`: rounded, and not beyond its ends."""
        if self.is_integer:
            return int(min(max(round(number), self.low), self.high))
        digits = DIGITS if self.step is None else 10  # a rounded value would be between two steps
        return min(max(float(f"{number:.{digits}g}"), self.low), self.high)

    def draw(self, generator: random.Random) -> float:
        """Return a random value."""
        if self.step is not None:
            steps = round((self.last - self.low) / self.step)
            return self.value(self.low + self.step * generator.randint(0, steps))
        # The ends of whole numbers are as likely as the others.
        low, high = (self.low - 0.5, self.high + 0.5) if self.is_integer else (self.low, self.high)
        if not self.log:
            return self.value(generator.uniform(low, high))
        return self.value(math.exp(generator.uniform(math.log(low), math.log(high))))

    def examples(self) -> list[float]:
        """Return both ends and a value between them, to be written as a list instead."""
        low, high = self.ends
        middle = math.sqrt(low * high) if self.log else (low + high) / 2
        return list(dict.fromkeys([low, self.value(float(f"{middle:.2g}")), high]))

    def text(self) -> str:
        """Return the range as a reader sees it, such as `0.0001 to 0.01 (log)`."""
        more = " (log)" if self.log else f" (step {self.step:g})" if self.step is not None else ""
        return f"{self.low:g} to {self.high:g}{more}"


def values_of(item: Sequence[Any] | Range) -> tuple[Any, ...]:
    """Return the values of an axis; of a range its two ends."""
    return item.ends if isinstance(item, Range) else tuple(item)


def read_range(where: str, axis: str, content: dict[Any, Any], own_default: object = None) -> Range:
    """Return the range that an experiment file has at `where`. Raises ValueError, with the remedy.

    That its ends are values of the setting is for the caller to check. The axis of a plug-in has numbers of the type of
    `own_default`.
    """
    is_integer = axis in INTEGER_AXES or type(own_default) is int
    example = f"{where}: {{low: 0.0001, high: 0.01, log: true}}"
    for key in content:
        if key not in KEYS:
            raise ValueError(f"{where}.{key}: unknown key (allowed: {', '.join(KEYS)}), such as {example}")
    if axis not in NUMERIC_AXES and type(own_default) not in (int, float):
        raise ValueError(f"{where}: a range needs numbers, which {axis} has none of; write a list of values")
    for key in ("low", "high"):
        if key not in content:
            raise ValueError(f"{where}.{key}: is missing; a range has both ends, such as {example}")
    low, high, step, log = content["low"], content["high"], content.get("step"), content.get("log", False)
    numbers = {"low": low, "high": high} | ({} if step is None else {"step": step})
    for key, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise ValueError(f"{where}.{key}: must be a number (got {number!r})")
        if is_integer and not isinstance(number, int):
            raise ValueError(f"{where}.{key}: must be an integer, as {axis} is (got {number!r})")
    if not isinstance(log, bool):
        raise ValueError(f"{where}.log: must be true or false (got {log!r})")
    if low >= high:
        raise ValueError(f"{where}: low must be below high (got {low:g} and {high:g}); for one value write [{low:g}]")
    if log and low <= 0:
        raise ValueError(f"{where}.low: must be above 0 where log is true (got {low:g})")
    if step is not None and log:
        raise ValueError(f"{where}: takes log or step, not both; remove one of them")
    if step is not None and not 0 < step <= high - low:
        raise ValueError(f"{where}.step: must be above 0 and at most high - low (got {step:g})")
    return Range(low, high, log, step, is_integer)


def check_ranges(grids: Sequence[Mapping[str, Any]], strategy: str) -> None:
    """Raise ValueError, with the remedy, for a range that the search `strategy` cannot draw from."""
    is_list = len(grids) > 1
    ranges = [
        (f"grid[{number}].{axis}" if is_list else f"grid.{axis}", values)
        for number, grid in enumerate(grids)
        for axis, values in grid.items()
        if isinstance(values, Range)
    ]
    for where, values in ranges:
        if strategy in ("grid", "halving"):
            raise ValueError(
                f"{where}: search.strategy: {strategy} trains every value, and a range ({values.text()}) has no end of "
                "them; write search: {strategy: random, budget: {runs: 50}}, with random, tpe or asha, or a list of "
                f"values, such as {values.examples()}"
            )
        if strategy in ("tpe", "asha") and is_list:
            raise ValueError(
                f"{where}: search.strategy: {strategy} takes a range in one grid, not in a list of grids; write one "
                "grid, or search.strategy: random"
            )
