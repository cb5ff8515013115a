"""Files that only their owner may read."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

SQLITE_SUFFIXES = ("-wal", "-shm", "-journal")
"""Of the files that SQLite makes beside a database, with the permissions that the database has then."""


def make_private(path: Path) -> None:
    """Create the SQLite database at `path` for the owner alone, or make it and the files beside it so."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    for file in (path, *(Path(f"{path}{suffix}") for suffix in SQLITE_SUFFIXES)):
        with contextlib.suppress(FileNotFoundError, PermissionError):  # somebody else's file stays as it is
            if file.stat().st_mode & 0o077:
                file.chmod(0o600)
