"""Virtual environments of the peers, created when first needed from pinned requirements."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent.absolute()
REQUIREMENTS, ENVIRONMENTS = HERE / "peers" / "requirements", HERE / ".venvs"
REPORTED_PACKAGES = (
    *("gridcast", "keras", "tensorflow", "jax", "mlflow", "keras-tuner", "optuna", "ray", "scikit-learn", "scikeras"),
    *(
        "gluonts",
        "torch",
        "lightning",
        "statsforecast",
        "mlforecast",
        "lightgbm",
        "neuralforecast",
        "prophet",
        "pandas",
        "numpy",
    ),
)
"""Packages whose versions are recorded with a measurement."""


def python(name: str) -> Path:
    """Return the interpreter of the environment `name`, created again if its requirements changed.

    The requirements name every package, so pip need not resolve anything. Raises CalledProcessError.
    """
    pinned, folder = REQUIREMENTS / f"{name}.txt", ENVIRONMENTS / name
    copy = folder / "made-from.txt"
    if not (copy.exists() and copy.read_text() == pinned.read_text()):
        print(f"installing {name} into {folder}, once; a minute or two", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--no-deps", "-r", pinned], check=True)
        shutil.copy(pinned, copy)
    return folder / "bin" / "python"


def versions(interpreter: Path) -> dict[str, str]:
    """Return the versions of Python and of REPORTED_PACKAGES in the environment of `interpreter`."""
    code = (
        "import json, platform, sys\n"
        "from importlib.metadata import distributions\n"
        "versions = {d.metadata['Name'].lower(): d.version for d in distributions()}\n"
        "reported = {name: versions[name] for name in sys.argv[1:] if name in versions}\n"
        "print(json.dumps({'python': platform.python_version(), **reported}))"
    )
    done = subprocess.run([interpreter, "-c", code, *REPORTED_PACKAGES], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))
