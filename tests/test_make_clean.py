"""`make clean` on a project with one of everything: what can be made again goes, what cannot is kept."""

import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[1] / "Makefile"
KEPT = (
    ".gridcast/streams/pump.sqlite",
    ".gridcast/serving/keys.sqlite",
    ".gridcast/serving/forecasts.sqlite",
    ".gridcast/spool/shop-1234/result",
    ".gridcast/a-later-version/state",
    ".gridcast/cache/notes",
    ".gridcast/checkpoints/notes",
    ".gridcast/jax/my-cache",
    ".mypy_cache/notes.txt",
    ".pytest_cache/notes.txt",
    ".venv/lib/__pycache__/module.cpython-311.pyc",
    "data/__pycache__/notes.txt",
    "data/sensors/sensors.csv",
    "dist/thesis.pdf",
    "experiments/own.yaml",
    "mlflow.db",
    "mlruns/1/run/artifacts/model",
    "reports/pump/notes.md",
    "reports/pump/report.html",
)
REMOVED = (
    f".gridcast/checkpoints/{'0a' * 32}",
    f".gridcast/jax/jit_step-{'0a' * 32}-cache",
    f".gridcast/jax/jit_step-{'0a' * 32}-atime",
    ".gridcast/worker.log",
    ".mypy_cache/3.11/cache.json",
    ".pytest_cache/v/cache/nodeids",
    ".ruff_cache/0.17.5/123",
    "dist/gridcast-0.2.0-py3-none-any.whl",
    "docs/_build/html/index.html",
    "src/__pycache__/module.cpython-311.pyc",
)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_clean_removes_only_what_is_made_again(tmp_path):
    shutil.copy(MAKEFILE, tmp_path)
    for name in (*KEPT, *REMOVED):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("content")
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    assert [name for name in KEPT if not (tmp_path / name).exists()] == []
    assert [name for name in REMOVED if (tmp_path / name).exists()] == []
    assert not (tmp_path / "src/__pycache__").exists()
