"""Checks of the cache: checkpoints of unfinished runs, results that wait for MLflow, compiled programs."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil

from gridcast.cli.doctor.finding import Finding, Project, good, problem
from gridcast.data.atomic_write import set_aside, temporary_owner
from gridcast.training import atomic_bundle, keras_backend
from gridcast.training.atomic_bundle import DamagedError

GRACE_SECONDS = 60
"""Age below which a file that looks left behind is not reported: its process may still be at work."""
_BUNDLE_NAME = re.compile(r"([a-z]+-)?[0-9a-f]{64}")
"""Names of checkpoints and results: a run key, that of a result after its kind."""
_FORMER_TEMPORARY_NAME = re.compile(rf"\.{_BUNDLE_NAME.pattern}\.([0-9]{{1,9}})")
"""Name of the temporary file of one, as a former version wrote it; other files it named as people may name theirs."""


def check_bundles(project: Project) -> Iterator[Finding]:
    """Check that every checkpoint and every waiting result is intact."""
    checkpoints, results = _bundles(project.cache / "checkpoints"), _bundles(project.cache / "spool")
    damaged = False
    for path in [*checkpoints, *results]:
        if damage := _damage(path):
            damaged = True
            consequence = "its run is trained again" if path in results else "its run starts over"
            remedy = f"`gridcast doctor --fix` renames it; {consequence}"
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
    """Report files that a process was writing when it was killed, and empty compiled programs.

    Only those whose names nobody else uses: people have files such as `.env.2024`.
    """
    hidden = [*Path().glob(".*"), *project.cache.rglob(".*"), *project.reports.rglob(".*")]
    leftovers = [path for path in hidden if _is_orphaned(path, project) and _is_old(path)]
    programs = [path for path in (project.cache / "jax").glob("*") if keras_backend.is_program(path) and path.is_file()]
    leftovers += [path for path in programs if path.stat().st_size == 0 and _is_old(path)]
    if leftovers:
        text = f"{len(leftovers)} files were left half-written, the first is {leftovers[0]}"
        yield problem("cache", text, remedy="`gridcast doctor --fix` removes them", fix=partial(_remove, leftovers))


def _bundles(folder: Path) -> list[Path]:
    """Return the files of `atomic_bundle` in a folder; those with a suffix were renamed as damaged before."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and _BUNDLE_NAME.fullmatch(path.name))


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
    return f"renamed to {set_aside(path, 'damaged')}"


def _remove(paths: list[Path]) -> str:
    for path in paths:
        if path.is_dir():  # where the files of a report were collected
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return f"{len(paths)} removed"


def _is_orphaned(path: Path, project: Project) -> bool:
    """Whether the process whose id is in the name of a temporary file or folder is dead."""
    if path.is_symlink():
        return False
    owner = temporary_owner(path.name)
    former = _FORMER_TEMPORARY_NAME.fullmatch(path.name)
    if former and any(folder in path.parents for folder in (project.cache / "checkpoints", project.cache / "spool")):
        owner = int(former[2])
    return owner is not None and not psutil.pid_exists(owner)


def _is_old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > GRACE_SECONDS
