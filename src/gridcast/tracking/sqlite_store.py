"""The SQLite file of MLflow's default store: created whole, checked and backed up.

This module does not use MLflow: a damaged file must be recognised before MLflow opens it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
import shutil
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
    """Return the file behind a `sqlite:///` URI; None for every other store, and for a database in memory."""
    match = re.fullmatch(r"sqlite(?:\+\w+)?:///([^?]+)(?:\?.*)?", uri)
    return Path(match[1]) if match and match[1] != ":memory:" else None


def check_file(uri: str) -> None:
    """Check that MLflow may open the store `uri`: it is no SQLite file, does not exist yet, or is whole.

    Raises TrackingError if the file is damaged, of another program, or of another MLflow. Takes 0.2 s for
    2,000 runs of 50 epochs, because it checks the tables and not their indexes.
    """
    path = sqlite_path(uri)
    if path is None or not path.exists():
        return
    try:
        if damage := find_damage(path):
            raise TrackingError(f"{path}: {damage}; {damage_remedy(path)}")
        if problem := schema_problem(path):
            raise TrackingError(f"{path}: {problem[0]}; {problem[1]}")
    except sqlite3.OperationalError as error:
        # A locked file is no error: MLflow itself waits for the process that writes.
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise TrackingError(f"{path}: cannot be read: {error}") from None


def create_database(path: Path, make: Callable[[str], object]) -> None:
    """Let `make(uri)` create a database, and move it to `path`, where it appears whole or not at all.

    MLflow creates its tables in about sixty steps: a kill in between leaves a file that no MLflow opens
    again, and of several processes that create the same file most fail. The first to finish wins.
    """
    if not os.access(path.absolute().parent, os.W_OK):  # MLflow would retry for two minutes
        raise TrackingError(
            f"{path}: cannot be created, its folder is not writable; make it writable, or work in another one"
        )
    # SQLite would apply the journal of a lost database to the new one.
    if any(file.exists() for file in _database_files(path)[1:]) and not path.exists():
        retire_database(path, "left")
    with atomic_write(path, overwrite=False) as temporary:
        try:
            make(f"sqlite:///{temporary}")
        except BaseException:
            for journal in _database_files(temporary)[1:]:
                journal.unlink(missing_ok=True)
            raise


def _kept_tables() -> Path:
    """The database with MLflow's tables and no experiment, in the user's cache. Raises RuntimeError without a home."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "gridcast" / f"mlflow-{known_revisions()[1]}.db"


def copy_tables(path: Path) -> bool:
    """Begin the database at `path` as a copy of the kept tables of MLflow; return whether there are any."""
    with contextlib.suppress(OSError, RuntimeError, sqlite3.DatabaseError):
        kept = _kept_tables()
        if schema_revision(kept) == known_revisions()[1] and not find_damage(kept):
            shutil.copyfile(kept, path)
            return True
    return False


def keep_tables(path: Path) -> None:
    """Keep the tables of the new database at `path` for others, if the user's cache can be written."""
    with contextlib.suppress(OSError, RuntimeError, sqlite3.DatabaseError):
        kept = _kept_tables()
        kept.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(kept) as temporary:
            shutil.copyfile(path, temporary)
            with open_connection(temporary) as database:
                database.execute("DELETE FROM experiments")  # MLflow makes the default one, with its folder


def find_damage(path: Path, *, thorough: bool = False) -> str:
    """Return what is wrong with the file as a database, else an empty string; `thorough` compares all indexes too.

    Raises sqlite3.OperationalError if it cannot be read: it is locked, or permission is missing.
    """
    if path.stat().st_size == 0:
        count = sum(1 for _ in run_folders(path.parent))
        return f"damaged: it is empty, while mlruns keeps artifacts of {count} runs" if count else ""
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
    """Return what to do about a damaged file."""
    return f"`gridcast doctor --fix` rebuilds it where only indexes are damaged; else {manual_remedy(path)}"


def manual_remedy(path: Path) -> str:
    """Return what to do about a file that cannot be rebuilt."""
    salvage = SALVAGE_COMMAND.format(path)
    return f"put a backup back, save what can be read (`{salvage}`), or start over (`rm {path}`)"


def schema_problem(path: Path) -> tuple[str, str] | None:
    """Return what is wrong with the schema of an undamaged file and the remedy; None if the installed MLflow fits.

    A file that another process (such as `mlflow ui`) is creating right now gets some seconds to finish.
    """
    begun = time.monotonic()
    while (problem := _schema_problem(path)) and time.time() - path.stat().st_mtime < 2:
        if time.monotonic() - begun > 10:
            break
        time.sleep(0.2)
    return problem


def _schema_problem(path: Path) -> tuple[str, str] | None:
    names, revision = table_names(path), schema_revision(path)
    revisions, newest = known_revisions()
    if revision == newest or not names:
        return None
    if "experiments" not in names:
        return "an SQLite database of another program", "name another file in MLFLOW_TRACKING_URI"
    if revision and revision not in revisions:
        return (
            f"written by a newer MLflow (schema {revision}; the installed one knows up to {newest})",
            "install that MLflow, or put back the backup from before",
        )
    if is_unused(path):
        return (
            f"left unfinished by a process that was ended while it created it (schema {revision or 'none'})",
            "`gridcast doctor --fix` renames it; nothing is recorded in it",
        )
    return (
        f"written by an older MLflow (schema {revision}; the installed one needs {newest})",
        "`gridcast doctor --fix` backs it up and upgrades it",
    )


def is_unused(path: Path) -> bool:
    """Whether the file has no runs, no registered models, and no experiment but MLflow's own."""
    return row_count(path, "runs") == row_count(path, "registered_models") == 0 and row_count(path, "experiments") <= 1


def schema_revision(path: Path) -> str | None:
    """Return the schema revision that the file declares (Alembic's name); None if it declares none."""
    with open_connection(path) as database:
        try:
            row = database.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
    return str(row[0]) if row else None


@functools.cache
def known_revisions() -> tuple[frozenset[str], str]:
    """Return every schema revision of the installed MLflow, and the newest.

    They are read from the source of its migrations, without importing MLflow.
    """
    spec = importlib.util.find_spec("mlflow")
    if spec is None or spec.origin is None:
        raise TrackingError("MLflow is not installed; run: pip install mlflow, or make in a clone of the repository")
    revisions: set[str] = set()
    predecessors: set[str] = set()
    for file in Path(spec.origin).parent.glob("store/db_migrations/versions/*.py"):
        for is_predecessor, name in _REVISION.findall(file.read_text(encoding="utf-8")):
            (predecessors if is_predecessor else revisions).add(name)
    (newest,) = revisions - predecessors
    return frozenset(revisions), newest


def table_names(path: Path) -> set[str]:
    """Return the names of all tables."""
    with open_connection(path) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def row_count(path: Path, table: str) -> int:
    """Return the number of rows of a table, 0 if there is no such table."""
    if table not in table_names(path):
        return 0
    with open_connection(path) as database:
        return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - our own name


def run_folders(folder: Path) -> Iterator[Path]:
    """Yield the artifact folders of runs in `mlruns`, MLflow's default place for them."""
    return folder.glob("mlruns/[0-9]*/" + 32 * "[0-9a-f]")


def back_up(path: Path, reason: str) -> Path:
    """Write a complete copy beside the file, named after the `reason`; return its path. Raises TrackingError."""
    backup = free_path(path, f"before-{reason}")
    with open_connection(path) as database, contextlib.closing(sqlite3.connect(backup)) as copy:
        database.backup(copy)
        if copy.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise TrackingError(f"{backup}: the backup is damaged, nothing was changed; is the disk full?")
    return backup


def retire_database(path: Path, reason: str) -> Path:
    """Rename the file and its journals, so that a new one can be created; return the new path."""
    retired = free_path(path, reason)
    for source, target in zip(_database_files(path), _database_files(retired), strict=True):
        if source.exists():
            source.rename(target)
    return retired


@contextlib.contextmanager
def open_connection(path: Path) -> Iterator[sqlite3.Connection]:
    """Open an existing file, with write access if the file allows it.

    The first connection after a crash must be able to roll back what was left unfinished.
    """
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_TIMEOUT, isolation_level=None
    )
    with contextlib.closing(database):
        yield database


def _database_files(path: Path) -> list[Path]:
    """Return the database file and the files that SQLite may keep beside it."""
    return [path.with_name(path.name + suffix) for suffix in ("", "-journal", "-wal", "-shm")]


def free_path(path: Path, reason: str) -> Path:
    """Return an unused path beside the file, named after the `reason` and the time."""
    name, number = f"{path.name}.{reason}-{time.strftime('%Y%m%d-%H%M%S')}", 1
    while (free := path.with_name(name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return free
