"""What a check finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Finding:
    """What a check found: `ok` or wrong, with what a person can do about it.

    `mend` does that where it is safe, and returns what was done.
    """

    about: str
    ok: bool
    text: str
    remedy: str = ""
    mend: Callable[[], str] | None = None


@dataclass(frozen=True)
class Project:
    """What is examined: the working directory, a store, and two folders."""

    uri: str
    cache: Path
    reports: Path
    held: Callable[[Any], bool]


Check = Callable[[Project], Iterator[Finding]]
