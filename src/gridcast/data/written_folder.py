"""Write files into a folder that holds files of other people too: a manifest says which are gridcast's."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from gridcast.data.atomic_write import TEMPORARY_PREFIX, atomic_write, set_aside
from gridcast.runtime.errors import GridcastError

Digests = dict[str, list[str]]
"""By the name of a file, the digests of the contents that it may have had when it was written."""
_LOG = logging.getLogger("gridcast")


@contextlib.contextmanager
def written_folder(folder: Path, part: str) -> Iterator[Path]:
    """Yield an empty folder; the files written there become files of `folder` when the block ends.

    `part` names what is written, such as `report`: the manifest `.gridcast-PART.json` in `folder` has the names and
    digests of its files. A file that is as the manifest says is replaced, or removed where there is no new one. A file
    that has the name of a new one but is not as the manifest says was made or changed by somebody else: it gets another
    name, and a warning says so. All other files stay as they are. After an exception `folder` is as it was; after a
    kill some files are new and others old, and the next time completes the work.

    The files are not flushed to the disk: use it for files that can be made again. Raises OSError, and GridcastError
    where `folder` cannot be one.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        kind = "a link to a folder that is not there" if folder.is_symlink() else "a file, or below one"
        raise GridcastError(f"{folder}: is {kind}; move it away, or make the folder, and try again") from None
    temporary = Path(tempfile.mkdtemp(dir=folder, prefix=f"{TEMPORARY_PREFIX}{part}-", suffix=f".{os.getpid()}"))
    try:
        yield temporary
        _publish(temporary, folder, folder / f".gridcast-{part}.json")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _publish(source: Path, folder: Path, manifest: Path) -> None:
    new = {path.name: [_digest(path)] for path in sorted(source.iterdir())}
    former = _read_manifest(manifest)
    # Until all are in place, each is as it was or as it will be.
    both = {name: [*former.get(name, ()), *new.get(name, ())] for name in former | new}
    _write_manifest(manifest, both)
    kept = []
    for name in new:
        target = folder / name
        if os.path.lexists(target) and not _is_written(target, both):
            kept.append(set_aside(target).name)
        (source / name).replace(target)
    if kept:
        _LOG.warning("%s: has files that are not as gridcast wrote them; they are kept as %s", folder, ", ".join(kept))
    for name in former.keys() - new.keys():
        if _is_written(folder / name, both):
            (folder / name).unlink()
    _write_manifest(manifest, new)


def _is_written(path: Path, digests: Digests) -> bool:
    """Whether `path` is a file as it was written."""
    return not path.is_symlink() and path.is_file() and _digest(path) in digests[path.name]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_manifest(path: Path) -> Digests:
    """Return the content of a manifest; an empty one if it is missing or not as it was written."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    is_name = {name: name not in ("", ".", "..") and Path(name).name == name for name in content}
    return {name: digests for name, digests in content.items() if is_name[name] and isinstance(digests, list)}


def _write_manifest(path: Path, digests: Mapping[str, list[str]]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(digests, indent=1), encoding="utf-8")
