"""What a client is told when it gets no answer; never with anything that it sent."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

REDACTED = "…"
"""Stands for what was given."""
TABLE_LOCATION = re.compile(r"(?:(?:line|row) \d+|column '(?P<column>[^']*)')(?:, |: )")


@dataclass
class HttpError(Exception):
    """An answer with an HTTP status, a code for programs, and a message for people; `where` it is about."""

    status: int
    code: str
    message: str
    where: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        """The contract's form of an error."""
        return {"error": {"code": self.code, "message": self.message, "where": self.where}}


def invalid_input(message: str, where: str | None = None, code: str = "invalid_input") -> HttpError:
    """The refusal of an input that nothing can be forecast from."""
    return HttpError(422, code, message, where)


def field_path(parts: Iterable[object], known: Collection[str]) -> str:
    """`("series", 0, "history", 3)` -> `series[0].history[3]`; words that are not `known` are not shown."""
    found = ""
    for part in parts:
        if isinstance(part, int):
            found += f"[{part}]"
        else:
            found += ("." if found else "") + (str(part) if part in known else REDACTED)
    return found


def from_table_error(message: str, known: Collection[str], where: str | None = None) -> HttpError:
    """The refusal that says what gridcast says of a table, less what the client sent.

    Messages quote values and names; only `known` ones, which the model itself has, are left in.
    """
    places, text = [], message
    while (found := TABLE_LOCATION.match(text)) and (found["column"] is None or found["column"] in known):
        places.append(found[0].rstrip(", :"))
        text = text[found.end() :]
    text = re.sub(r" \(the file has: .*", "", text, flags=re.DOTALL)
    return invalid_input(redact(text, known), ", ".join(places) or where)


def redact(text: str, known: Collection[str]) -> str:
    """`text` with everything from the first to the last quotation mark hidden, but names that are `known`."""
    names: list[str] = []

    def keep(found: re.Match[str]) -> str:
        if found[1] not in known:
            return found[0]
        names.append(found[0])
        return f"\0{len(names) - 1}\0"

    text = re.sub(r"'([^'\0]*)'", keep, text.replace("\0", ""))
    text = re.sub(r"""['"].*['"]|['"].*""", f"'{REDACTED}'", text, flags=re.DOTALL)
    return re.sub(r"\0(\d+)\0", lambda found: names[int(found[1])], text)
