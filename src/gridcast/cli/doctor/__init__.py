"""Checks of an installation, its store, its cache and its disk, and the repair of each."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from gridcast.cli.doctor import cache, disk, installation, store
from gridcast.cli.doctor.finding import Check, Finding, Project, problem
from gridcast.runtime.errors import GridcastError
from gridcast.tracking.store import DEFAULT_URI, Store

__all__ = ["CHECKS", "Finding", "examine", "fix"]

CHECKS: tuple[Check, ...] = (
    installation.check_packages,
    installation.check_backends,
    disk.check_writable,
    disk.check_space,
    store.check_store,
    store.check_legacy_files,
    store.check_artifacts,
    store.check_runs,
    cache.check_bundles,
    cache.check_waiting,
    cache.check_leftovers,
)


def examine(
    uri: str | None = None,
    folder: Path = Path(".gridcast"),
    reports: Path = Path("reports"),
    is_swept: Callable[[Store], bool] = store.is_swept,
    checks: Sequence[Check] = CHECKS,
) -> Iterator[Finding]:
    """Yield each finding of each check as it is made, good ones included.

    The store is `uri`, else MLFLOW_TRACKING_URI, else the default one; `folder` is the cache; `is_swept` returns
    whether some process sweeps an MLflow experiment. Fix a finding before asking for the next one: later checks then
    see the repaired state.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    project = Project(uri, folder, reports, is_swept)
    for check in checks:
        try:
            yield from check(project)
        except (GridcastError, OSError, sqlite3.Error) as error:  # locked, not permitted, deleted meanwhile
            package = check.__module__.rpartition(".")[2]
            yield problem(package, f"cannot be examined: {error}", remedy="see the message")


def fix(finding: Finding) -> str:
    """Repair what was found, and return what was done. Raises GridcastError."""
    if finding.fix is None:
        raise GridcastError(f"{finding.about}: only you can fix this: {finding.remedy}")
    try:
        return finding.fix()
    except (OSError, sqlite3.Error) as error:
        raise GridcastError(f"{finding.about}: {error}") from error
