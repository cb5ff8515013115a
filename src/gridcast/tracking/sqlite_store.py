"""The SQLite file behind the default MLflow store: made whole, checked and backed up.

MLflow itself is not needed here: a damaged file must be recognised before MLflow opens it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gridcast.data.atomic_write import atomic_write
from gridcast.runtime.errors import TrackingError

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process that writes."""
SALVAGE_COMMAND = "sqlite3 {0} .dump | sed 's/^ROLLBACK.*/COMMIT;/' | sqlite3 {0}.saved"
_REVISION = re.compile(r"^(down_)?revision\b[^=\n]*=\s*[\"'](\w+)[\"']", re.MULTILINE)


def sqlite_path(uri: str) -> Path | None:
    """The file behind a `sqlite:///` URI; None for every other store, and for one in memory."""
    found = re.fullmatch(r"sqlite(?:\+\w+)?:///([^?]+)(?:\?.*)?", uri)
    return Path(found[1]) if found and found[1] != ":memory:" else None


def check_file(uri: str) -> None:
    """Returns where MLflow may open the store `uri`: it is not SQLite, is not there yet, or is whole.

    Raises TrackingError when the file is damaged, of another program, or of another MLflow. Takes
    0.2 s for 2,000 runs of 50 epochs, as it looks at the tables and not at their indexes.
    """
    path = sqlite_path(uri)
    if path is None or not path.exists():
        return
    try:
        if wrong := find_damage(path):
            raise TrackingError(f"{path}: {wrong}; {damage_remedy(path)}")
        if misfits := schema_problem(path):
            raise TrackingError(f"{path}: {misfits[0]}; {misfits[1]}")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:  # MLflow itself waits for who writes now
            raise TrackingError(f"{path}: cannot be read: {error}") from None


def create_database(path: Path, make: Callable[[str], object]) -> None:
    """Let `make(uri)` make a database and move it to `path`, where it appears whole or not at all.

    MLflow makes its tables in some sixty steps: a kill among them leaves a file that no MLflow opens
    again, and of several processes that make one file most fail. The first one that is done wins.
    """
    if not os.access(path.absolute().parent, os.W_OK):  # MLflow would try for two minutes
        raise TrackingError(f"{path}: cannot be made, its folder is not writable; make it so, or work in another one")
    # SQLite would apply the journal of a lost database to the new one.
    if any(own.exists() for own in _database_files(path)[1:]) and not path.exists():
        retire_database(path, "left")
    with atomic_write(path, overwrite=False) as temporary:
        try:
            make(f"sqlite:///{temporary}")
        finally:
            for journal in _database_files(temporary)[1:]:
                journal.unlink(missing_ok=True)


def find_damage(path: Path, *, thorough: bool = False) -> str:
    """What is wrong with the file as a database, else an empty string; `thorough` compares every index too.

    Raises sqlite3.OperationalError when it cannot be read: it is locked, or no permission was given.
    """
    if path.stat().st_size == 0:
        kept = sum(1 for _ in run_folders(path.parent))
        return f"damaged: it is empty, while mlruns keeps artifacts of {kept} runs" if kept else ""
    try:
        with open_connection(path) as database:
            check = "integrity_check" if thorough else "quick_check"
            lines = [str(line) for (line,) in database.execute(f"PRAGMA {check}(3)")]
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise
        return f"damaged: {error}"
    return "" if lines == ["ok"] else f"damaged: {' '.join(lines[0].split())}"


def damage_remedy(path: Path) -> str:
    """What to do about a damaged file."""
    return f"`gridcast doctor --fix` rebuilds it where only indexes are hurt; else {manual_remedy(path)}"


def schema_problem(path: Path) -> tuple[str, str] | None:
    """What is wrong with the schema of a whole file, and the remedy; None where the installed MLflow fits.

    A file that somebody else, as `mlflow ui`, is making right now gets some seconds for that.
    """
    begun = time.monotonic()
    while (found := _schema_problem(path)) and time.time() - path.stat().st_mtime < 2 and time.monotonic() - begun < 10:
        time.sleep(0.2)
    return found


def _schema_problem(path: Path) -> tuple[str, str] | None:
    names, found = table_names(path), schema_revision(path)
    known, newest = known_revisions()
    if found == newest or not names:
        return None
    if "experiments" not in names:
        return "an SQLite database of another program", "name another file in MLFLOW_TRACKING_URI"
    if found and found not in known:
        return (
            f"written by a newer MLflow (schema {found}; the installed one knows up to {newest})",
            "install that MLflow, or put the backup back that was made before",
        )
    if is_unused(path):
        return (
            f"left unfinished by a process that was ended while it made it (schema {found or 'none'})",
            "`gridcast doctor --fix` sets it aside; nothing is recorded in it",
        )
    return (
        f"written by an older MLflow (schema {found}; the installed one wants {newest})",
        "`gridcast doctor --fix` backs it up and upgrades it",
    )


def is_unused(path: Path) -> bool:
    """Whether no run and no registered model is in the file, and no experiment but MLflow's own."""
    return row_count(path, "runs") == row_count(path, "registered_models") == 0 and row_count(path, "experiments") <= 1


def schema_revision(path: Path) -> str | None:
    """The schema that the file says it has (Alembic's name), None where it says nothing."""
    with open_connection(path) as database:
        try:
            row = database.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
    return str(row[0]) if row else None


@functools.cache
def known_revisions() -> tuple[frozenset[str], str]:
    """Every schema that the installed MLflow knows, and the newest: read from its migrations, without MLflow."""
    found = importlib.util.find_spec("mlflow")
    if found is None or found.origin is None:
        raise TrackingError("MLflow is not installed; install the project: make")
    known: set[str] = set()
    before: set[str] = set()
    for file in Path(found.origin).parent.glob("store/db_migrations/versions/*.py"):
        for down, name in _REVISION.findall(file.read_text(encoding="utf-8")):
            (before if down else known).add(name)
    (newest,) = known - before
    return frozenset(known), newest


def table_names(path: Path) -> set[str]:
    """Names of all tables."""
    with open_connection(path) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def row_count(path: Path, table: str) -> int:
    """Rows of a table, 0 where there is no such table."""
    if table not in table_names(path):
        return 0
    with open_connection(path) as database:
        return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - our own name


def run_folders(folder: Path) -> Iterator[Path]:
    """Artifact folders of runs in `mlruns`, MLflow's default place for them."""
    return folder.glob("mlruns/[0-9]*/" + 32 * "[0-9a-f]")


def back_up(path: Path, reason: str) -> Path:
    """A whole copy beside the file, named for what it was made before; returns its path. Raises TrackingError."""
    kept = free_path(path, f"before-{reason}")
    with open_connection(path) as database, contextlib.closing(sqlite3.connect(kept)) as copy:
        database.backup(copy)
        if copy.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise TrackingError(f"{kept}: the backup is damaged, nothing was changed; is the disk full?")
    return kept


def manual_remedy(path: Path) -> str:
    """What to do about a file that cannot be rebuilt."""
    return f"put a backup back, save what can be read (`{SALVAGE_COMMAND.format(path)}`), or begin anew (`rm {path}`)"


def retire_database(path: Path, reason: str) -> Path:
    """Rename the file, and the journals that belong to it; returns its new path."""
    kept = free_path(path, reason)
    for own, new in zip(_database_files(path), _database_files(kept), strict=True):
        if own.exists():
            own.rename(new)
    return kept


@contextlib.contextmanager
def open_connection(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a file that is there.

    It may write, where the file allows, as the first to open it after a crash must roll back what was left.
    """
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None
    )
    with contextlib.closing(database):
        yield database


def _database_files(path: Path) -> list[Path]:
    """A database and what SQLite may keep beside it."""
    return [path.with_name(path.name + ending) for ending in ("", "-journal", "-wal", "-shm")]


def free_path(path: Path, reason: str) -> Path:
    """A name for a copy that is not taken yet."""
    name, number = f"{path.name}.{reason}-{time.strftime('%Y%m%d-%H%M%S')}", 1
    while (kept := path.with_name(name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return kept
