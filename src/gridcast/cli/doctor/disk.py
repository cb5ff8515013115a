"""Checks of the disk: free space, and write permission where gridcast writes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gridcast.cli.doctor.finding import Finding, Project, good, problem
from gridcast.tracking import sqlite_store

MIN_FREE_BYTES = 2**30
"""Free bytes below which a disk counts as full."""


def check_space(_: Project) -> Iterator[Finding]:
    """Check that the disks of the project and of temporary files have free space."""
    for folder in (Path.cwd(), Path(tempfile.gettempdir())):
        free = shutil.disk_usage(folder).free
        text = f"{free / 2**30:.1f} GiB free in {folder}"
        if free >= MIN_FREE_BYTES:
            yield good("disk", text)
            continue
        remedy = "free some space (a run needs a few megabytes, but a full disk ends a sweep)"
        remedy += "" if folder == Path.cwd() else ", or set TMPDIR to another folder"
        yield problem("disk", f"only {text}", remedy=remedy)


def check_writable(project: Project) -> Iterator[Finding]:
    """Check that files can be created in each folder that a sweep writes to, and the store's file can be changed."""
    folders = [Path.cwd(), Path("mlruns"), project.reports, project.cache, Path(tempfile.gettempdir())]
    store = sqlite_store.sqlite_path(project.uri)
    if store is not None and store.absolute().parent != Path.cwd():
        folders.append(store.absolute().parent)
    errors = [_write_error(folder) for folder in folders if folder.exists()]
    if store is not None and store.is_file():
        errors.append(_write_error(store))
    if not any(errors):
        yield good("disk", "every folder can be written to")
    for error in filter(None, errors):
        yield problem("disk", error, remedy="get write permission (chown, chmod u+w), or work in another folder")


def _write_error(path: Path) -> str:
    """Return why `path` cannot be written to, an empty string if it can.

    It is tried, because permissions do not show a read-only disk; nothing is left behind.
    """
    try:
        if path.is_dir():
            with tempfile.TemporaryFile(dir=path):
                pass
        else:
            with path.open("r+b"):
                pass
    except OSError as error:
        return f"{path}: cannot be written to: {error.strerror}"
    return ""
