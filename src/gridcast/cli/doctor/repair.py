"""A damaged SQLite file, written anew from its tables."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from gridcast.runtime.errors import TrackingError
from gridcast.tracking import sqlite_store


def rebuild(path: Path) -> str:
    """Write the file anew from its tables where those are whole; the damaged one is kept. Raises TrackingError.

    A hurt table may look like one with fewer rows: an index of each must know as many as were found.
    """
    kept, aside = sqlite_store.free_path(path, "damaged"), sqlite_store.free_path(path, "rebuilt")
    try:
        with sqlite_store.open_connection(path) as hurt, contextlib.closing(sqlite3.connect(aside)) as whole:
            before = hurt.execute("PRAGMA data_version").fetchone()
            # VACUUM would not do: it copies indexes as they are.
            _copy(hurt, whole)
            counts = {name: sqlite_store.row_count(aside, name) for name in sorted(sqlite_store.table_names(path))}
            doubted = [name for name, rows in counts.items() if not _agreed(hurt, name, rows)]
            if wrong := ", ".join(doubted) or sqlite_store.find_damage(aside, thorough=True):
                raise TrackingError(
                    f"{path}: cannot be rebuilt without loss ({wrong}); {sqlite_store.manual_remedy(path)}"
                )
            if hurt.execute("PRAGMA data_version").fetchone() != before:
                raise TrackingError(f"{path}: another process wrote meanwhile; end it and try again")
            kept.write_bytes(path.read_bytes())
            # Page by page into the old file: whoever has it open goes on with the new content.
            whole.backup(hurt)
    except sqlite3.DatabaseError as error:
        raise TrackingError(
            f"{path}: cannot be rebuilt without loss ({error}); {sqlite_store.manual_remedy(path)}"
        ) from None
    finally:
        aside.unlink(missing_ok=True)
    return (
        f"{path} is rebuilt from its tables ({sqlite_store.row_count(path, 'runs')} runs); "
        f"the damaged one is kept as {kept}"
    )


def _copy(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Every table row by row, then its indexes made anew."""
    objects = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' AND type "
    with target:
        for name, sql in source.execute(f"{objects} = 'table'").fetchall():
            target.execute(sql)
            columns = [column for _, column, *_ in source.execute(f"PRAGMA table_info({name})")]  # less generated ones
            names, marks = ", ".join(f'"{column}"' for column in columns), ", ".join("?" for _ in columns)
            rows = source.execute(f"SELECT {names} FROM {name} NOT INDEXED")  # noqa: S608 - names of its own schema
            target.executemany(f"INSERT INTO {name} ({names}) VALUES ({marks})", rows)  # noqa: S608
        for _, sql in source.execute(f"{objects} != 'table'").fetchall():
            target.execute(sql)


def _agreed(known: sqlite3.Connection, table: str, rows: int) -> bool:
    """Whether some index of the table has `rows` entries."""
    for _, index, *_ in known.execute(f"PRAGMA index_list({table})").fetchall():
        with contextlib.suppress(sqlite3.DatabaseError):
            # A plain count(*) would ask the smallest index, whatever is said here.
            found = known.execute(f"SELECT total(1) FROM {table} INDEXED BY {index}").fetchone()  # noqa: S608
            if found == (rows,):
                return True
    return False
