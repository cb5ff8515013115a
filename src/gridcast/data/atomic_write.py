"""Write a file or a folder so that it appears complete or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; the file written there becomes `path` when the block ends.

    The file is flushed to the disk before it is renamed, so that a kill, a power failure or a full disk at any moment
    leaves either the old file or the new one. After an exception `path` is as it was and the temporary file is
    removed. With `overwrite=False` an existing `path` stays: of several processes that create one file, the first to
    finish wins. Raises OSError.

    The temporary name is hidden and ends in the id of this process, by which `gridcast doctor` recognises the files
    of processes that were killed.
    """
    # Beside `path` by the same way: across a mount, even of one disk, a rename fails.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            _rename_unless_present(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _rename_unless_present(source: Path, target: Path) -> None:
    # A hard link fails where the target exists; rename would replace it, and a check before it would be a race.
    try:
        os.link(source, target)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        source.replace(target)


@contextlib.contextmanager
def atomic_folder(folder: Path, *, keep: Sequence[str] = ()) -> Iterator[Path]:
    """Yield a temporary folder beside `folder` that takes its place when the block ends.

    Files of the old folder whose names are in `keep` are moved into the new one. After an exception `folder` is as it
    was. The files are not flushed to the disk: use it for files that can be made again. Raises OSError.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp makes folders that nobody else can read
        if folder.exists():
            for name in keep:
                if (folder / name).exists():
                    (folder / name).rename(temporary / name)
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
