"""How a table writes its numbers and dates: decided once for a whole table, and carried in the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

POINT, COMMA = "point", "comma"
SIGNS = {POINT: ".", COMMA: ",", "space": " \u00a0\u202f", "apostrophe": "'\u2019", "none": ""}
"""The signs that stand for each name of `data.decimal` and `data.thousands`."""
FORMER = "former"
"""The `decimal` of models from before tables were decided as a whole: points are decimal points there."""
NO_READING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "None")
"""Texts that mean "no value" in every column of numbers; never in one of names."""

SENTINELS = (-999.0, -9999.0, -99999.0, -999999.0)
"""Numbers that instruments and databases write where they have no reading."""


@dataclass(frozen=True)
class Dialect:
    """How a table is written.

    `decimal` is the sign before the decimals (`point`, `comma`; None where no number shows it), `thousands` the sign
    between thousands, if it was stated. `dates` is the order of dates (`iso`, `day-first`, `month-first`, `periods`
    such as 2021-Q1), None where it is unknown. `separator` stands between fields, None in files that have none.
    `missing` are further texts and numbers that mean "no value". `time_unit` is the unit of time stamps that are
    numbers. `blanks` says what an empty covariate means: `error`, `zero`, or `ffill`.
    """

    decimal: str | None = None
    thousands: str | None = None
    dates: str | None = None
    separator: str | None = None
    missing: tuple[str | float, ...] = ()
    time_unit: str | None = None
    blanks: str = "error"

    @property
    def missing_words(self) -> frozenset[str]:
        """Texts that mean "no value"."""
        return frozenset(NO_READING) | {word for word in self.missing if isinstance(word, str)}

    @property
    def missing_numbers(self) -> tuple[float, ...]:
        """Numbers that mean "no value"."""
        return tuple(float(value) for value in self.missing if not isinstance(value, str))

    def to_json(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, without what has its default."""
        content = {field.name: getattr(self, field.name) for field in fields(self)}
        default = asdict(Dialect())
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in content.items()
            if value != default[name]
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any] | None) -> Dialect:
        """Return the dialect that `to_json` gave; that of a former model, which carries none, for None."""
        if content is None:
            return cls(decimal=FORMER, blanks="ffill")
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in content.items() if name in known}
        return cls(**values | {"missing": tuple(content.get("missing", ()))})


UNKNOWN = Dialect()
"""The dialect of a table that shows nothing."""
