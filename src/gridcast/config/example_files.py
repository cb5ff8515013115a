"""The annotated experiment files that come with gridcast."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path("experiments")
PACKAGE = Path(__file__).parents[1]
SUFFIXES = (".py", ".yaml")


def example_files() -> dict[Path, bytes]:
    """Return the content of each example by its path from where `gridcast examples` writes it.

    They are inside the package where it was installed as a wheel, and beside its source in a clone.
    """
    folder = PACKAGE / FOLDER
    folder = folder if folder.is_dir() else PACKAGE.parents[1] / FOLDER
    paths = (path for path in sorted(folder.rglob("*")) if path.suffix in SUFFIXES)
    return {FOLDER / path.relative_to(folder): path.read_bytes() for path in paths}
