"""Rebuilding a damaged SQLite file from its tables."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from gridcast.runtime.errors import TrackingError
from gridcast.tracking import sqlite_store


def rebuild(path: Path) -> str:
    """Rebuild the file from its tables if all of them are intact, and keep a copy of the damaged file.

    A damaged table may look like one with fewer rows: some index of each table must have as many entries as rows
    were read. Returns what was done. Raises TrackingError, with the file unchanged.
    """
    damaged, rebuilt = sqlite_store.free_path(path, "damaged"), sqlite_store.free_path(path, "rebuilt")
    try:
        with sqlite_store.open_connection(path) as source, contextlib.closing(sqlite3.connect(rebuilt)) as target:
            version = source.execute("PRAGMA data_version").fetchone()
            # VACUUM would copy the damaged indexes as they are.
            _copy_tables(source, target)
            counts = {name: sqlite_store.row_count(rebuilt, name) for name in sorted(sqlite_store.table_names(path))}
            incomplete = [name for name, rows in counts.items() if not _is_confirmed_by_an_index(source, name, rows)]
            if loss := ", ".join(incomplete) or sqlite_store.find_damage(rebuilt, thorough=True):
                raise TrackingError(
                    f"{path}: cannot be rebuilt without loss ({loss}); {sqlite_store.manual_remedy(path)}"
                )
            if source.execute("PRAGMA data_version").fetchone() != version:
                raise TrackingError(f"{path}: another process wrote to it meanwhile; end that process and try again")
            damaged.write_bytes(path.read_bytes())
            # Page by page into the old file: processes that have it open continue with the new content.
            target.backup(source)
    except sqlite3.DatabaseError as error:
        raise TrackingError(
            f"{path}: cannot be rebuilt without loss ({error}); {sqlite_store.manual_remedy(path)}"
        ) from None
    finally:
        rebuilt.unlink(missing_ok=True)
    count = sqlite_store.row_count(path, "runs")
    return f"{path} is rebuilt from its tables ({count} runs); the damaged one is kept as {damaged}"


def _copy_tables(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Copy every table row by row, then create its indexes."""
    objects = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' AND type "
    with target:
        for name, sql in source.execute(f"{objects} = 'table'").fetchall():
            target.execute(sql)
            # table_info leaves out generated columns, which cannot be written.
            columns = [column for _, column, *_ in source.execute(f"PRAGMA table_info({name})")]
            names, marks = ", ".join(f'"{column}"' for column in columns), ", ".join("?" for _ in columns)
            rows = source.execute(f"SELECT {names} FROM {name} NOT INDEXED")  # noqa: S608 - names of its own schema
            target.executemany(f"INSERT INTO {name} ({names}) VALUES ({marks})", rows)  # noqa: S608
        for _, sql in source.execute(f"{objects} != 'table'").fetchall():
            target.execute(sql)


def _is_confirmed_by_an_index(source: sqlite3.Connection, table: str, rows: int) -> bool:
    """Whether some index of the table has `rows` entries."""
    for _, index, *_ in source.execute(f"PRAGMA index_list({table})").fetchall():
        with contextlib.suppress(sqlite3.DatabaseError):
            # A plain count(*) would use the smallest index, whichever is named here.
            total = source.execute(f"SELECT total(1) FROM {table} INDEXED BY {index}").fetchone()  # noqa: S608
            if total == (rows,):
                return True
    return False
