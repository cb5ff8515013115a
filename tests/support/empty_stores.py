"""Empty MLflow stores: made by MLflow once for all test processes, as its migrations take a second and a half."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from gridcast.tracking import sqlite_store


class Stores:
    """Copies of the one SQLite file that `make(uri)` made in `folder`."""

    def __init__(self, folder: Path, make: Callable[[str], object]) -> None:
        self.folder, self.make = folder, make

    def copy(self, path: Path, home: Path) -> None:
        """An empty store at `path`, whose artifacts are kept in `home` as if MLflow had made it there."""
        shutil.copyfile(self._made(), path)
        with contextlib.closing(sqlite3.connect(path)) as store, store:
            store.execute("UPDATE experiments SET artifact_location = ?", [f"{home.absolute()}/mlruns/0"])

    def tables(self, uri: str) -> None:
        """The same, in place of `make`: an empty store at `uri`, made where this process works."""
        path = sqlite_store.sqlite_path(uri)
        assert path is not None
        self.copy(path, Path.cwd())

    def _made(self) -> Path:
        self.folder.mkdir(exist_ok=True)
        made = self.folder / "mlflow.db"
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                sqlite_store.create_database(made, self.make)
        return made
