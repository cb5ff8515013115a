"""Faults of single series of a table, which leave its other series answered."""

from __future__ import annotations

from .errors import DataError


class SeriesProblems(dict[str, str]):
    """The first fault of each series, by its id; a `strict` one raises it at once."""

    def __init__(self, *, strict: bool = False) -> None:
        super().__init__()
        self.strict = strict

    def add(self, name: object, sentence: str) -> None:
        """Keep the first `sentence` on the series `name`. Raises DataError where strict."""
        if self.strict:
            raise DataError(sentence)
        self.setdefault(str(name), sentence)
