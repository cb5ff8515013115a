"""Environments in which a built wheel is installed, with the packages that it requires and no others."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from collections import defaultdict
from importlib import metadata
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
PACKAGES = Path(sysconfig.get_path("purelib"))
"""The packages that the tests run with."""


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this project into `folder`, with the build backend that is installed."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install_alone(wheel: Path, folder: Path) -> Path:
    """Install `wheel` into a new environment in `folder`, without downloads; return its folder of commands.

    What the wheel requires, without extras, is linked from the packages of the tests; nothing else can be imported.
    """
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    options = ["--no-deps", "--no-index", "--no-compile", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", *options, wheel], check=True)
    (target,) = folder.glob("lib/python*/site-packages")
    (own,) = metadata.distributions(name="gridcast", path=[str(target)])
    _link(required(own.requires or []), target)
    return folder / "bin"


def required(requirements: list[str]) -> set[str]:
    """Return the names of all installed distributions that these requirements need, directly or not."""
    names: set[str] = set()
    open_ends = [(Requirement(text), "") for text in requirements]
    visited = set()
    while open_ends:
        requirement, extra = open_ends.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        names.add(name)
        for wanted in {"", *requirement.extras}:
            if (name, wanted) not in visited:
                visited.add((name, wanted))
                open_ends += [(Requirement(text), wanted) for text in metadata.requires(name) or []]
    return names


def _link(names: set[str], target: Path) -> None:
    """Link the files of the distributions `names` into `target`: whole folders, but for those shared with others."""
    owners: dict[str, set[str]] = defaultdict(set)
    files: dict[str, list[PurePosixPath]] = {}
    for distribution in metadata.distributions(path=[str(PACKAGES)]):
        name = canonicalize_name(distribution.metadata["Name"])
        files[name] = [path for path in distribution.files or [] if path.parts[0] not in ("..", "__pycache__")]
        for path in files[name]:
            owners[path.parts[0]].add(name)
    for name in names:
        for path in files[name]:
            link = target / (path.parts[0] if owners[path.parts[0]] <= names else path)
            if not link.is_symlink():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(PACKAGES / link.relative_to(target))
