"""Checks of the cache: checkpoints of unfinished runs, results that wait for MLflow, compiled programs."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil

from gridcast.cli.doctor.finding import Finding, Project, good, problem
from gridcast.training import atomic_bundle
from gridcast.training.atomic_bundle import DamagedError

GRACE_SECONDS = 60
"""Age below which a file that looks left behind is not reported: its process may still be at work."""
_TEMPORARY_NAME = re.compile(r"\..+\.(\d+)(-journal|-wal|-shm)?")
"""Hidden names that end in the id of the process that writes the file."""


def check_bundles(project: Project) -> Iterator[Finding]:
    """Check that every checkpoint and every waiting result is intact."""
    checkpoints, results = _bundles(project.cache / "checkpoints"), _bundles(project.cache / "spool")
    damaged = False
    for path in checkpoints:
        if damage := _damage(path):
            damaged = True
            remedy = "`gridcast doctor --fix` removes it; its run starts over"
            yield problem("cache", damage, remedy=remedy, fix=partial(_remove, [path]))
    for path in results:
        if damage := _damage(path):
            damaged = True
            remedy = "`gridcast doctor --fix` renames it; its run is trained again"
            yield problem("cache", damage, remedy=remedy, fix=partial(_rename_damaged, path))
    if not damaged and (checkpoints or results):
        yield good("cache", f"{len(checkpoints)} checkpoints of unfinished runs, all intact")


def check_waiting(project: Project) -> Iterator[Finding]:
    """Report how many results are not in MLflow yet."""
    for folder in sorted({path.parent for path in _bundles(project.cache / "spool")}):
        count = len(_bundles(folder))
        yield good(
            "cache", f"{folder}: {count} results wait for MLflow; the next gridcast run of their experiment writes them"
        )


def check_leftovers(project: Project) -> Iterator[Finding]:
    """Report files that a process was writing when it was killed, and empty compiled programs."""
    hidden = [*Path().glob(".*"), *project.cache.rglob(".*"), *project.reports.rglob(".*")]
    leftovers = [path for path in hidden if path.is_file() and _is_orphaned(path) and _is_old(path)]
    leftovers += [path for path in (project.cache / "jax").glob("*") if path.stat().st_size == 0 and _is_old(path)]
    if leftovers:
        text = f"{len(leftovers)} files were left half-written, the first is {leftovers[0]}"
        yield problem("cache", text, remedy="`gridcast doctor --fix` removes them", fix=partial(_remove, leftovers))


def _bundles(folder: Path) -> list[Path]:
    """Return the files of `atomic_bundle` in a folder; those with a suffix were renamed as damaged before."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".") and not p.suffix)


def _damage(path: Path) -> str:
    """Return what is wrong with a bundle, an empty string if it is intact."""
    try:
        atomic_bundle.read(path)
    except FileNotFoundError:
        return ""  # a running sweep has used it up
    except DamagedError as error:
        return str(error)
    except OSError as error:
        return f"{path}: cannot be read: {error.strerror}"
    return ""


def _rename_damaged(path: Path) -> str:
    return f"renamed to {path.replace(path.with_suffix('.damaged'))}"


def _remove(paths: list[Path]) -> str:
    for path in paths:
        path.unlink(missing_ok=True)
    return f"{len(paths)} removed"


def _is_orphaned(path: Path) -> bool:
    """Whether the process whose id is in the file's name is dead."""
    match = _TEMPORARY_NAME.fullmatch(path.name)
    return match is not None and not psutil.pid_exists(int(match[1]))


def _is_old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > GRACE_SECONDS
