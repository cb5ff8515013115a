"""Checks of the disk: is there room, and may we write where we must."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gridcast.cli.doctor.finding import Finding, Project
from gridcast.tracking import sqlite_store

MIN_FREE_BYTES = 2**30
"""Free bytes below which a disk is called full."""


def check_space(_: Project) -> Iterator[Finding]:
    """Whether the disks of the project and of temporary files have room."""
    for folder in (Path.cwd(), Path(tempfile.gettempdir())):
        free = shutil.disk_usage(folder).free
        text = f"{free / 2**30:.1f} GiB free in {folder}"
        remedy = "a run needs a few megabytes, but a full disk ends a sweep: make room" + (
            "" if folder == Path.cwd() else ", or name another folder in TMPDIR"
        )
        yield Finding("disk", free >= MIN_FREE_BYTES, text if free >= MIN_FREE_BYTES else f"only {text}", remedy)


def check_writable(project: Project) -> Iterator[Finding]:
    """Whether files can be made in each folder that a sweep writes to, and the store's file can be changed."""
    folders = [Path.cwd(), Path("mlruns"), project.reports, project.cache, Path(tempfile.gettempdir())]
    store = sqlite_store.sqlite_path(project.uri)
    if store is not None and store.absolute().parent != Path.cwd():
        folders.append(store.absolute().parent)
    wrong = [_refusal(folder) for folder in folders if folder.exists()]
    if store is not None and store.is_file():
        wrong.append(_refusal(store))
    if not any(wrong):
        yield Finding("disk", True, "every folder can be written to")
    for text in filter(None, wrong):
        yield Finding("disk", False, text, "make it yours (chown, chmod u+w), or work in another folder")


def _refusal(path: Path) -> str:
    """Why `path` cannot be written to: tried, as permissions do not tell of read-only disks; nothing is left."""
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
