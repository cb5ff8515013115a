"""The packages that pyproject.toml and the pinned files name, against those that the code imports."""

import ast
import functools
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
LOCAL = {"gridcast"} | {path.stem for path in (ROOT / "tests" / "support").glob("*.py")}
OTHER_NAMES = {"mpl_toolkits": "matplotlib", "sklearn": "scikit-learn", "yaml": "pyyaml"}
"""Names of distributions that differ from those of their packages."""
USED_BY_OTHERS = {
    "python-multipart": "FastAPI reads uploaded files with it",
    "uvloop": "uvicorn's event loop",
}
"""Required packages that are not imported, and who imports them."""


def names(requirements):
    return {canonicalize_name(Requirement(text).name) for text in requirements}


CORE = names(PROJECT["project"]["dependencies"])
DEVELOPMENT = CORE | names(text for texts in EXTRAS.values() for text in texts)
DEVELOPMENT |= names(PROJECT["dependency-groups"]["dev"])


@functools.cache
def imports(file):
    """Pairs of an imported package and whether that happens at once, not in a function, in this file."""
    tree, found = ast.parse(file.read_text()), set()
    at_once = set(tree.body)
    for node in ast.walk(tree):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            modules = [node.module]
        roots = {module.partition(".")[0] for module in modules} - LOCAL - sys.stdlib_module_names
        found |= {(root, node in at_once) for root in roots}
    return found


def distribution(root):
    """The name under which the package `root` is installed."""
    return OTHER_NAMES.get(root, canonicalize_name(root))


def undeclared(folder, declared):
    """Files of `folder` and the packages that they import from none of the distributions `declared`."""
    return {
        f"{file.relative_to(ROOT)}: {root}"
        for file in folder.rglob("*.py")
        for root, _ in imports(file)
        if distribution(root) not in declared
    }


def test_what_the_package_imports_is_required_or_an_extra():
    assert undeclared(ROOT / "src", CORE | names(text for texts in EXTRAS.values() for text in texts)) == set()


def test_what_the_tests_import_is_installed_for_them():
    assert undeclared(ROOT / "tests", DEVELOPMENT) == set()


def test_an_extra_is_imported_only_where_it_is_used():
    found = {distribution(root) for file in (ROOT / "src").rglob("*.py") for root, at_once in imports(file) if at_once}
    assert found - CORE == set()


def test_what_is_required_is_imported():
    used = {distribution(root) for file in (ROOT / "src").rglob("*.py") for root, _ in imports(file)}
    assert CORE - used == USED_BY_OTHERS.keys()


def test_tensorflow_is_an_extra():
    assert "tensorflow" not in CORE
    assert names(EXTRAS["tensorflow"]) == {"tensorflow"}


@pytest.mark.parametrize(
    ("file", "extras", "groups"),
    [
        ("requirements.txt", ("arima", "postgres", "prophet", "tensorflow"), ()),
        ("requirements-dev.txt", tuple(EXTRAS), ("dev",)),
        ("requirements-lab.txt", (), ("lab",)),
    ],
)
def test_the_pinned_files_are_those_of_the_project(file, extras, groups):
    """Each requirement has a pin that it allows; where they differ, `make lock` writes the file again."""
    pins = {}
    for line in (ROOT / file).read_text().splitlines():
        if line[0].isalnum():
            pin = Requirement(line.removesuffix("\\"))
            pins.setdefault(canonicalize_name(pin.name), []).append(str(pin.specifier).removeprefix("=="))
    wanted = list(PROJECT["project"]["dependencies"])
    wanted += [text for extra in extras for text in EXTRAS[extra]]
    wanted += [text for group in groups for text in PROJECT["dependency-groups"][group]]
    for requirement in map(Requirement, wanted):
        versions = pins[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version) for version in versions), requirement
