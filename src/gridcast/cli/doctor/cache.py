"""Checks of the cache: states of runs under way, results on their way to MLflow, compiled programs."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil

from gridcast.cli.doctor.finding import Finding, Project
from gridcast.training import atomic_bundle
from gridcast.training.atomic_bundle import DamagedError

GRACE_SECONDS = 60
"""Seconds for which a file that looks left behind is given the benefit of the doubt."""
_ASIDE = re.compile(r"\..+\.(\d+)(-journal|-wal|-shm)?")


def check_bundles(project: Project) -> Iterator[Finding]:
    """Whether every kept state and every result that waits is whole."""
    kept, waiting = _bundles(project.cache / "checkpoints"), _bundles(project.cache / "spool")
    fine = True
    for path in (*kept, *waiting):
        wrong = _damage(path)
        if not wrong:
            continue
        fine = False
        if path in kept:
            remedy, mend = "`gridcast doctor --fix` removes it; its run starts over", partial(_remove, [path])
        else:
            remedy, mend = "`gridcast doctor --fix` sets it aside; its run is trained anew", partial(_set_aside, path)
        yield Finding("cache", False, wrong, remedy, mend)
    if fine and (kept or waiting):
        yield Finding("cache", True, f"{len(kept)} states of runs under way, all whole")


def check_waiting(project: Project) -> Iterator[Finding]:
    """How many results are not in MLflow yet."""
    for folder in sorted({path.parent for path in _bundles(project.cache / "spool")}):
        number = len(_bundles(folder))
        told = f"{folder}: {number} results wait for MLflow; the next gridcast run of their experiment writes them"
        yield Finding("cache", True, told)


def check_leftovers(project: Project) -> Iterator[Finding]:
    """Files that a process was writing when it was killed, and compiled programs without content."""
    left = [*Path().glob(".*"), *project.cache.rglob(".*"), *project.reports.rglob(".*")]
    old = [path for path in left if path.is_file() and _orphan(path) and _aged(path)]
    old += [path for path in (project.cache / "jax").glob("*") if path.stat().st_size == 0 and _aged(path)]
    if old:
        text = f"{len(old)} files were left half-written, the first is {old[0]}"
        yield Finding("cache", False, text, "`gridcast doctor --fix` removes them", partial(_remove, old))


def _bundles(folder: Path) -> list[Path]:
    """Files kept by `bundle.write`; those with a suffix were set aside before."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".") and not p.suffix)


def _damage(path: Path) -> str:
    try:
        atomic_bundle.read(path)
    except FileNotFoundError:
        return ""  # a sweep is at work and was done with it
    except DamagedError as error:
        return str(error)
    except OSError as error:
        return f"{path}: cannot be read: {error.strerror}"
    return ""


def _set_aside(path: Path) -> str:
    return f"set aside as {path.replace(path.with_suffix('.damaged'))}"


def _remove(paths: list[Path]) -> str:
    for path in paths:
        path.unlink(missing_ok=True)
    return f"{len(paths)} removed"


def _orphan(path: Path) -> bool:
    """Whether the process that its name tells of is dead."""
    found = _ASIDE.fullmatch(path.name)
    return found is not None and not psutil.pid_exists(int(found[1]))


def _aged(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > GRACE_SECONDS
