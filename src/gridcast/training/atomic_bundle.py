"""Several files in one file on disk, which is there as a whole or not at all; damage is detected by a checksum."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from gridcast.data.atomic_write import atomic_write

_DIGEST_SIZE = hashlib.sha256().digest_size


class DamagedError(Exception):
    """The file is not what was written: cut short, or changed."""


def write(path: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` (name -> content) to `path`, replacing what was there. Raises OSError.

    A kill or a full disk at any moment leaves either the old file or the new one.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    body = content.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(body + hashlib.sha256(body).digest())


def read(path: Path) -> dict[str, bytes]:
    """Return the files in the bundle at `path`. Raises DamagedError, and FileNotFoundError if there is none."""
    content = path.read_bytes()
    body, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    if len(digest) < _DIGEST_SIZE or hashlib.sha256(body).digest() != digest:
        raise DamagedError(f"{path}: damaged, its checksum does not fit")
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
