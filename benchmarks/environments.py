"""Virtual environments of the peers, made when first needed, from pinned requirements."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent.absolute()
REQUIREMENTS, ENVIRONMENTS = HERE / "peers" / "requirements", HERE / ".venvs"
TOLD = (
    *("gridcast", "keras", "tensorflow", "jax", "mlflow", "keras-tuner", "optuna", "ray", "scikit-learn", "scikeras"),
    *("gluonts", "torch", "lightning", "statsforecast", "prophet", "pandas", "numpy"),
)
"""Packages whose versions belong to a measurement."""


def python(name: str) -> Path:
    """The interpreter of the environment `name`, made anew where its requirements changed. Raises CalledProcessError.

    The requirements name every package, so pip need not resolve anything.
    """
    pinned, folder = REQUIREMENTS / f"{name}.txt", ENVIRONMENTS / name
    made = folder / "made-from.txt"
    if not (made.exists() and made.read_text() == pinned.read_text()):
        print(f"installing {name} into {folder}, once; a minute or two", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--no-deps", "-r", pinned], check=True)
        shutil.copy(pinned, made)
    return folder / "bin" / "python"


def versions(interpreter: Path) -> dict[str, str]:
    """Versions of Python and of the packages TOLD that the environment of `interpreter` has."""
    code = (
        "import json, platform, sys\n"
        "from importlib.metadata import distributions\n"
        "found = {d.metadata['Name'].lower(): d.version for d in distributions()}\n"
        "told = {name: found[name] for name in sys.argv[1:] if name in found}\n"
        "print(json.dumps({'python': platform.python_version(), **told}))"
    )
    done = subprocess.run([interpreter, "-c", code, *TOLD], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))
