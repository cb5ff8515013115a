"""Checks of what is installed: the packages that the project wants, and Keras on both backends."""

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

from gridcast.cli.doctor.finding import Finding, Project

REINSTALL = "install it anew: rm -f .venv/.run && make"
BACKENDS = ("jax", "tensorflow")
BACKEND_TIMEOUT = 180
"""Seconds within which a backend must compute."""
# Keras would look for these too, and on JAX for TensorFlow, which takes seconds and proves nothing.
BACKEND_PROGRAM = """
import os, sys
sys.modules |= dict.fromkeys(["sklearn", "matplotlib"])
if os.environ["KERAS_BACKEND"] == "jax":
    sys.modules["tensorflow"] = None
import keras
assert float(keras.ops.sum(keras.ops.matmul(keras.ops.ones((2, 3)), keras.ops.ones((3, 2))))) == 12
"""


def check_packages(_: Project) -> Iterator[Finding]:
    """Whether Python and every package have the versions that the project asks for."""
    try:
        wrong = unmet_requirements("gridcast")
        wanted = metadata("gridcast")["Requires-Python"] or ""
    except PackageNotFoundError:
        yield Finding("installation", False, "gridcast itself is not installed in this Python", REINSTALL)
        return
    if platform.python_version() not in SpecifierSet(wanted, prereleases=True):
        wrong.append(f"Python is {platform.python_version()}, wanted is {wanted}")
    told = f"gridcast {version('gridcast')} on Python {platform.python_version()}, every package as wanted"
    yield Finding("installation", not wrong, "; ".join(wrong) or told, REINSTALL)


def unmet_requirements(package: str, extras: tuple[str, ...] = ("",)) -> list[str]:
    """What `package` with its `extras` wants and does not find. Raises PackageNotFoundError."""
    wrong = []
    for text in requires(package) or []:
        need = Requirement(text)
        if need.marker and not any(need.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        try:
            found = version(need.name)
        except PackageNotFoundError:
            wrong.append(f"{need.name} is missing, wanted is {need.specifier or 'any version'}")
            continue
        if not need.specifier.contains(found, prereleases=True):
            wrong.append(f"{need.name} is {found}, wanted is {need.specifier}")
        if need.extras:
            wrong += unmet_requirements(need.name, tuple(need.extras))
    return wrong


def check_backends(_: Project) -> Iterator[Finding]:
    """Whether Keras computes on each backend, in processes of their own: a crash must not end this one."""
    with ThreadPoolExecutor() as pool:
        for name, wrong in zip(BACKENDS, pool.map(_compute, BACKENDS), strict=True):
            yield Finding("backend", not wrong, f"Keras {wrong or 'computes'} on {name}", REINSTALL)


def _compute(backend: str) -> str:
    """What went wrong with a small computation, in one line; an empty string when it went well."""
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
    said = (done.stderr.strip() or "it said nothing").splitlines()[-1]
    ended = f"was ended by {signal.Signals(-done.returncode).name}" if done.returncode < 0 else "fails"
    return f"{ended} ({said})"
