"""Checks of the installation: the packages that the project requires, and Keras on both backends."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, distribution, metadata, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from gridcast.cli.doctor.finding import Finding, Project, good, problem
from gridcast.training import keras_backend

INSTALL = "install it: make, in a clone of the repository, or pip install gridcast"
REINSTALL = "reinstall it: rm -f .venv/.run && make"
PIP_REMEDIES = {
    "packages": "install them: pip install gridcast",
    "jax": "reinstall it: pip uninstall keras jax jaxlib && pip install gridcast",
    "tensorflow": "reinstall it: pip uninstall keras tensorflow && pip install 'gridcast[tensorflow]'",
}
"""How to mend an installation that was made with pip; it works where gridcast came as a file too."""
BACKENDS = ("jax", "tensorflow")
BACKEND_TIMEOUT = 180
"""Seconds within which a backend must compute."""
# Keras would also look for the packages that are blocked here, and on JAX for TensorFlow: that takes seconds and
# proves nothing.
BACKEND_PROGRAM = """
import os, sys
sys.modules |= dict.fromkeys(["sklearn", "matplotlib"])
if os.environ["KERAS_BACKEND"] == "jax":
    sys.modules["tensorflow"] = None
import keras
assert float(keras.ops.sum(keras.ops.matmul(keras.ops.ones((2, 3)), keras.ops.ones((3, 2))))) == 12
"""


def check_packages(_: Project) -> Iterator[Finding]:
    """Check that Python and every package have the versions that the project requires."""
    try:
        about = metadata("gridcast")
        problems = unmet_requirements("gridcast", optional=tuple(about.get_all("Provides-Extra") or ()))
        required_python = about["Requires-Python"] or ""
    except PackageNotFoundError:
        yield problem("installation", "gridcast itself is not installed in this Python", remedy=remedy("packages"))
        return
    if platform.python_version() not in SpecifierSet(required_python, prereleases=True):
        problems.append(f"Python is {platform.python_version()}, required is {required_python}")
    if problems:
        yield problem("installation", "; ".join(problems), remedy=remedy("packages"))
        return
    versions = f"gridcast {version('gridcast')} on Python {platform.python_version()}"
    yield good("installation", f"{versions}, every package as required")


def remedy(broken: str) -> str:
    """Return the remedy for `broken`, a key of PIP_REMEDIES: `make` in a clone, else pip."""
    try:
        origin = distribution("gridcast").read_text("direct_url.json") or ""
    except PackageNotFoundError:
        return INSTALL
    return REINSTALL if '"editable": true' in origin else PIP_REMEDIES[broken]


def unmet_requirements(package: str, extras: tuple[str, ...] = ("",), *, optional: tuple[str, ...] = ()) -> list[str]:
    """Return the requirements of `package` with its `extras` that are not met. Raises PackageNotFoundError.

    What its `optional` extras require may be missing, but not be there in another version.
    """
    problems = []
    for text in requires(package) or []:
        requirement = Requirement(text)
        is_required = _applies(requirement, extras)
        if not (is_required or _applies(requirement, optional)):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            if is_required:
                needed = requirement.specifier or "any version"
                problems.append(f"{requirement.name} is missing, required is {needed}")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            problems.append(f"{requirement.name} is {installed}, required is {requirement.specifier}")
        if requirement.extras:
            problems += unmet_requirements(requirement.name, tuple(requirement.extras))
    return problems


def _applies(requirement: Requirement, extras: tuple[str, ...]) -> bool:
    return not requirement.marker or any(requirement.marker.evaluate({"extra": extra}) for extra in extras)


def check_backends(_: Project) -> Iterator[Finding]:
    """Check that Keras computes on each installed backend, in separate processes: a crash must not end this one."""
    installed = [name for name in BACKENDS if name != "tensorflow" or keras_backend.has_tensorflow()]
    with ThreadPoolExecutor() as pool:
        for name, error in zip(installed, pool.map(_backend_error, installed), strict=True):
            if error:
                yield problem("backend", f"Keras {error} on {name}", remedy=remedy(name))
            else:
                yield good("backend", f"Keras computes on {name}")


def _backend_error(backend: str) -> str:
    """Return how a small computation failed, in one line; an empty string if it succeeded."""
    variables = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", BACKEND_PROGRAM]
    try:
        done = subprocess.run(
            command, env=variables, capture_output=True, text=True, timeout=BACKEND_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return f"gave no result within {BACKEND_TIMEOUT} s"
    if done.returncode == 0:
        return ""
    message = (done.stderr.strip() or "no message").splitlines()[-1]
    ending = f"was ended by {signal.Signals(-done.returncode).name}" if done.returncode < 0 else "fails"
    return f"{ending} ({message})"
