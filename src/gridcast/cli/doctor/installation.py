"""Checks of the installation: the packages that the project requires, and Keras on both backends."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from gridcast.cli.doctor.finding import Finding, Project, good, problem

REINSTALL = "reinstall it: rm -f .venv/.run && make"
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
        problems = unmet_requirements("gridcast")
        required_python = metadata("gridcast")["Requires-Python"] or ""
    except PackageNotFoundError:
        yield problem("installation", "gridcast itself is not installed in this Python", remedy=REINSTALL)
        return
    if platform.python_version() not in SpecifierSet(required_python, prereleases=True):
        problems.append(f"Python is {platform.python_version()}, required is {required_python}")
    if problems:
        yield problem("installation", "; ".join(problems), remedy=REINSTALL)
        return
    versions = f"gridcast {version('gridcast')} on Python {platform.python_version()}"
    yield good("installation", f"{versions}, every package as required")


def unmet_requirements(package: str, extras: tuple[str, ...] = ("",)) -> list[str]:
    """Return the requirements of `package` with its `extras` that are not met. Raises PackageNotFoundError."""
    problems = []
    for text in requires(package) or []:
        requirement = Requirement(text)
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            problems.append(f"{requirement.name} is missing, required is {requirement.specifier or 'any version'}")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            problems.append(f"{requirement.name} is {installed}, required is {requirement.specifier}")
        if requirement.extras:
            problems += unmet_requirements(requirement.name, tuple(requirement.extras))
    return problems


def check_backends(_: Project) -> Iterator[Finding]:
    """Check that Keras computes on each backend, in separate processes: a crash must not end this one."""
    with ThreadPoolExecutor() as pool:
        for name, error in zip(BACKENDS, pool.map(_backend_error, BACKENDS), strict=True):
            if error:
                yield problem("backend", f"Keras {error} on {name}", remedy=REINSTALL)
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
