"""Findings of the doctor, and the project that it examines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Finding:
    """The result of a check: `ok` or a problem, with a `remedy` that a person can apply.

    `fix` applies it, where that is safe, and returns what was done.
    """

    about: str
    ok: bool
    text: str
    remedy: str = ""
    fix: Callable[[], str] | None = None


def good(about: str, text: str) -> Finding:
    """Return a finding that all is well with something."""
    return Finding(about, ok=True, text=text)


def problem(about: str, text: str, *, remedy: str, fix: Callable[[], str] | None = None) -> Finding:
    """Return a finding that something is wrong."""
    return Finding(about, ok=False, text=text, remedy=remedy, fix=fix)


@dataclass(frozen=True)
class Project:
    """The working directory, an MLflow store, and the folders of the cache and of the reports.

    `is_swept` returns whether some process sweeps an MLflow experiment.
    """

    uri: str
    cache: Path
    reports: Path
    is_swept: Callable[[Any], bool]


Check = Callable[[Project], Iterator[Finding]]
