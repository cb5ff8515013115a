"""Several files kept as one on disk: there whole, or not at all, and known when damaged."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from gridcast.data.atomic_write import atomic_write

_DIGEST = hashlib.sha256().digest_size


class DamagedError(Exception):
    """The file is not what was written: cut short, or changed."""


def write(path: Path, files: Mapping[str, bytes]) -> None:
    """Keep `files` (name -> content) at `path`, in place of what was there. Raises OSError.

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
    """The files kept at `path`. Raises DamagedError, and FileNotFoundError where nothing was kept."""
    content = path.read_bytes()
    body, digest = content[:-_DIGEST], content[-_DIGEST:]
    if len(digest) < _DIGEST or hashlib.sha256(body).digest() != digest:
        raise DamagedError(f"{path}: damaged, its checksum does not fit")
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
