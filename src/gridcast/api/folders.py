"""The folders of a project, below the working directory."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

CACHE, REPORTS = Path(".gridcast"), Path("reports")


def cache_if_present(cache: Path) -> Path:
    """Return the folder `cache` if it exists, else a temporary one, removed at the end of the process.

    What only reads uses it: it creates no folder where there is no project.
    """
    return cache if cache.is_dir() else Path(_temporary_cache().name)


@functools.cache
def _temporary_cache() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="gridcast-")
