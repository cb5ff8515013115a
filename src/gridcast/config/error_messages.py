"""Messages for what pydantic refuses, in the words of the experiment file."""

from __future__ import annotations

import re
import reprlib
from typing import Any

from pydantic import BaseModel

from gridcast.runtime.errors import suggest

SHOWN = reprlib.Repr()
"""How much of a value a message shows."""
SHOWN.maxlevel, SHOWN.maxstring, SHOWN.maxother, SHOWN.maxlong = 2, 200, 100, 40
MAX_MESSAGE = 1000
"""Characters of the message on one fault."""


class Shown:
    """A value whose `repr` is short, whatever it holds."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        try:
            return SHOWN.repr(self.value)
        except ValueError:
            return "a number of too many digits"


def shortened(message: str) -> str:
    """Return a message without its middle where it is too long to be read; its end has the remedy."""
    if len(message) <= MAX_MESSAGE:
        return message
    return f"{message[: MAX_MESSAGE // 2]} … {message[-MAX_MESSAGE // 3 :]}"


def explain(fault: Any, section: type[BaseModel]) -> str:
    """Return the message, with the remedy, for one entry of `ValidationError.errors()` on a value of `section`."""
    value = Shown(fault["input"])
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    if fault["type"] == "extra_forbidden":
        keys = section.model_fields
        return f"unknown key{suggest(str(fault['loc'][-1]), keys)} (allowed: {', '.join(keys)})"
    if fault["type"] == "missing":
        return "is missing; add it"
    if fault["type"] == "literal_error":
        allowed = fault["ctx"]["expected"]
        names = re.findall(r"'([^']+)'", allowed)
        near = suggest(shortened(str(fault["input"])), names)
        return f"{value!r} is not allowed{near} (allowed: {allowed.replace(' or ', ', ')})"
    if fault["type"] == "string_pattern_mismatch":  # only names have a pattern
        return (
            f"must be letters from A to Z, digits, '_', '.' and '-', and begin with a letter or digit (got {value!r})"
        )
    if fault["type"] == "string_too_long":
        return f"must have at most {fault['ctx']['max_length']} characters (got {len(fault['input'])})"
    message = fault["msg"].replace("Input should be", "must be").replace("a valid ", "a ")
    message = message.replace("a integer", "an integer").replace("a tuple", "a list").replace("Tuple should", "must")
    return f"{message.replace(' after validation, not 0', '').replace('String should', 'must')} (got {value!r})"
