"""The statements of a person about an unknown table, in place of what would be found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wishes:
    """The stated columns, task, name and SQL; None where nothing is stated.

    `start` is the first period of a table whose columns are numbered periods, `frequency` the step, `horizon` the
    steps to forecast.
    """

    target: str | None = None
    time: str | None = None
    series: tuple[str, ...] | None = None
    task: str | None = None
    name: str | None = None
    query: str | None = None
    start: str | None = None
    frequency: str | None = None
    horizon: int | None = None
