"""Empty MLflow stores: MLflow creates one for all test processes, because its migrations take 1.5 seconds."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from gridcast.tracking import sqlite_store


class Stores:
    """Copies of one SQLite file, which `make(uri)` creates in `folder`."""

    def __init__(self, folder: Path, make: Callable[[str], object]) -> None:
        self.folder, self.make = folder, make

    def copy(self, path: Path, home: Path) -> None:
        """Create an empty store at `path`, with its artifacts in `home`, as if MLflow had created it there."""
        shutil.copyfile(self._original(), path)
        with contextlib.closing(sqlite3.connect(path)) as store, store:
            store.execute("UPDATE experiments SET artifact_location = ?", [f"{home.absolute()}/mlruns/0"])

    def tables(self, uri: str) -> None:
        """Create an empty store at `uri`, in place of `make`, with its artifacts in the working directory."""
        path = sqlite_store.sqlite_path(uri)
        assert path is not None
        self.copy(path, Path.cwd())

    def _original(self) -> Path:
        self.folder.mkdir(exist_ok=True)
        path = self.folder / "mlflow.db"
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                sqlite_store.create_database(path, self.make)
        return path
