"""YAML with a comment on each key, as a person would write it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

COLUMN = 44
"""Column at which comments begin, if the value leaves room."""
MAX_WIDTH = 110
"""Characters of a line of values before they are written in several lines."""
PLAIN = re.compile(r"[^\W\d_](?:[\w .%()-]*[\w)%])?")
"""Texts that need no quotes, unless YAML takes them for something else."""


def key_line(key: str, value: Any, reason: str = "", *, indent: int = 0, is_option: bool = False) -> str:
    """Return `key: value   # reason`; of an option all of it is a comment."""
    start = f"{' ' * indent}{'# ' if is_option else ''}{key}: "
    text = f"{start}{flow(value)}"
    comment = f"# {' '.join(reason.split())}" if reason else ""
    if len(text) <= MAX_WIDTH or is_option or not isinstance(value, list):
        return f"{text:<{COLUMN}} {comment}".rstrip() if comment else text
    lines = [f"{start.rstrip():<{COLUMN}} {comment}".rstrip()]
    return "\n".join([*lines, *(f"{' ' * (indent + 2)}- {flow(item)}" for item in value)])


def flow(value: Any) -> str:
    """Return a value on one line, such as `{lookback: 14, horizon: 7}`."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Sequence):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return "null" if value is None else json.dumps(value)


def _text(value: str) -> str:
    """The text without quotes where YAML reads it as what it is."""
    is_plain = PLAIN.fullmatch(value) is not None and ": " not in value
    return value if is_plain and yaml.safe_load(value) == value else json.dumps(value, ensure_ascii=False)
