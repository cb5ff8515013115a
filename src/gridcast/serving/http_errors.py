"""Error responses; no message quotes what the client sent."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

REDACTED = "…"
"""Replaces what the client sent."""
TABLE_LOCATION = re.compile(r"(?:(?:line|row) \d+|column '(?P<column>[^']*)')(?:, |: )")


@dataclass
class HttpError(Exception):
    """An error response: HTTP status, a `code` for programs, a `message` for people, and the input field `where`."""

    status: int
    code: str
    message: str
    where: str | None = field(default=None, kw_only=True)
    headers: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    @property
    def body(self) -> dict[str, Any]:
        """The response body of the HTTP contract."""
        return {"error": {"code": self.code, "message": self.message, "where": self.where}}


def invalid_input(message: str, where: str | None = None, code: str = "invalid_input") -> HttpError:
    """Return the error for an input that no answer can be computed from (422)."""
    return HttpError(422, code, message, where=where)


def internal_error() -> HttpError:
    """Return the error for a fault of the service (500)."""
    return HttpError(500, "internal", "the service failed; its log has the cause under the id of this request")


def field_path(parts: Iterable[object], known_names: Collection[str]) -> str:
    """Return `series[0].history[3]` for `("series", 0, "history", 3)`; names that are not known are redacted."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += ("." if path else "") + (str(part) if part in known_names else REDACTED)
    return path


def from_table_error(message: str, known_names: Collection[str], where: str | None = None) -> HttpError:
    """Return the error (422) for gridcast's `message` about a table, without what the client sent.

    Messages quote values and names; only `known_names`, which the model itself has, remain. A line, row or column at
    the start of the message becomes the place of the error; else that is `where`.
    """
    locations, text = [], message
    while (match := TABLE_LOCATION.match(text)) and (match["column"] is None or match["column"] in known_names):
        locations.append(match[0].rstrip(", :"))
        text = text[match.end() :]
    text = re.sub(r" \(the file has: .*", "", text, flags=re.DOTALL)
    return invalid_input(redact(text, known_names), ", ".join(locations) or where)


def redact(text: str, known_names: Collection[str]) -> str:
    """Return `text` with everything from its first to its last quotation mark redacted, except known names."""
    quoted_names: list[str] = []

    def keep(match: re.Match[str]) -> str:
        if match[1] not in known_names:
            return match[0]
        quoted_names.append(match[0])
        return f"\0{len(quoted_names) - 1}\0"

    # Known names are replaced by numbered marks, so that the greedy pattern below cannot remove them.
    text = re.sub(r"'([^'\0]*)'", keep, text.replace("\0", ""))
    text = re.sub(r"""['"].*['"]|['"].*""", f"'{REDACTED}'", text, flags=re.DOTALL)
    return re.sub(r"\0(\d+)\0", lambda match: quoted_names[int(match[1])], text)
