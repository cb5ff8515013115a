"""Write a file so that it appears complete or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

TEMPORARY_PREFIX = ".gridcast-tmp-"
"""Beginning of the names of temporary files and folders; they end in the id of the process that writes there."""
MAX_NAME_BYTES = 200
"""Length from which on a digest takes the place of a name in that of its temporary file: most disks allow 255 bytes."""
_TEMPORARY_NAME = re.compile(re.escape(TEMPORARY_PREFIX) + r".*\.([0-9]{1,9})(-journal|-wal|-shm)?")


@contextlib.contextmanager
def atomic_write(path: Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; the file written there becomes `path` when the block ends.

    The file is flushed to the disk before it is renamed, so that a kill, a power failure or a full disk at any moment
    leaves either the old file or the new one. After an exception `path` is as it was and the temporary file is
    removed. With `overwrite=False` an existing `path` stays: of several processes that create one file, the first to
    finish wins. Raises OSError.
    """
    # Beside `path` by the same way: across a mount, even of one disk, a rename fails.
    temporary = temporary_path(path)
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


def temporary_path(path: Path) -> Path:
    """Return the path where this process writes what is to become `path`."""
    encoded = os.fsencode(path.name)
    name = path.name if len(encoded) <= MAX_NAME_BYTES else hashlib.sha256(encoded).hexdigest()
    return path.with_name(f"{TEMPORARY_PREFIX}{name}.{os.getpid()}")


def temporary_owner(name: str) -> int | None:
    """Return the id of the process that made the temporary file of this name; None for any other name."""
    match = _TEMPORARY_NAME.fullmatch(name)
    return int(match[1]) if match else None


def set_aside(path: Path, reason: str = "kept") -> Path:
    """Rename `path`, which is not gridcast's to remove, to a free name such as `notes.kept.txt`; return the new path.

    Raises OSError.
    """
    number = 1
    while os.path.lexists(aside := path.with_stem(f"{path.stem}.{reason}{'' if number == 1 else f'-{number}'}")):
        number += 1
    return path.rename(aside)


def _rename_unless_present(source: Path, target: Path) -> None:
    # A hard link fails where the target exists; rename would replace it, and a check before it would be a race.
    try:
        os.link(source, target)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        source.replace(target)
