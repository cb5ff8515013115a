"""What may be wrong with an installation, its store, its cache and its disk, and how each is mended."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from gridcast.cli.doctor import cache, disk, installation, store
from gridcast.cli.doctor.finding import Check, Finding, Project
from gridcast.runtime.errors import GridcastError
from gridcast.tracking.store import DEFAULT_URI, Store

__all__ = ["CHECKS", "Finding", "examine", "mend"]

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
    held: Callable[[Store], bool] = store.is_swept,
    checks: Sequence[Check] = CHECKS,
) -> Iterator[Finding]:
    """Each finding of each check as it is made, good ones included.

    The store is `uri`, else MLFLOW_TRACKING_URI, else the default one; `folder` is the cache; `held`
    tells whether some process sweeps an experiment. Whoever mends does it before asking for the next
    finding: later checks then see what was mended.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    project = Project(uri, folder, reports, held)
    for check in checks:
        try:
            yield from check(project)
        except (GridcastError, OSError, sqlite3.Error) as error:  # locked, not permitted, gone meanwhile
            yield Finding(
                check.__module__.rpartition(".")[2], False, f"cannot be examined: {error}", "see what it says"
            )


def fix(finding: Finding) -> str:
    """Mend what was found; returns what was done. Raises GridcastError."""
    if finding.mend is None:
        raise GridcastError(f"{finding.about}: nobody but you can mend this: {finding.remedy}")
    try:
        return finding.mend()
    except (OSError, sqlite3.Error) as error:
        raise GridcastError(f"{finding.about}: {error}") from error
