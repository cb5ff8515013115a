"""Files that only their owner may read."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

SQLITE_SUFFIXES = ("-wal", "-shm", "-journal")
"""Of the files that SQLite makes beside a database, with the permissions that the database has then."""


def make_private(path: Path) -> None:
    """Create the SQLite database at `path`, and its folder, for the owner alone; so they become if they exist.

    A folder that exists is left as it is.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    for file in (path, *(Path(f"{path}{suffix}") for suffix in SQLITE_SUFFIXES)):
        with contextlib.suppress(FileNotFoundError, PermissionError):  # somebody else's file stays as it is
            if file.stat().st_mode & 0o077:
                file.chmod(0o600)
