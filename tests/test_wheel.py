"""The wheel, installed without TensorFlow in an environment of its own, away from the repository."""

import json
import os
import subprocess
import zipfile

import pytest

import fresh_environment
from small_experiments import sales, write_experiment

DOORS = """
import json, mlflow, pandas, sys
table = mlflow.pyfunc.load_model(sys.argv[1]).predict(pandas.read_csv("sales.csv"), params={"horizon": 2})
network = mlflow.keras.load_model(sys.argv[1])
import keras
print(json.dumps([keras.backend.backend(), len(table), network.count_params()]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return fresh_environment.build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def call(wheel, tmp_path_factory):
    """Run a command of the environment in an empty folder; returns the finished process."""
    commands = fresh_environment.install_alone(wheel, tmp_path_factory.mktemp("environment"))
    folder = tmp_path_factory.mktemp("elsewhere")
    unset = ("KERAS_BACKEND", "MLFLOW_TRACKING_URI", "PYTHONPATH", "VIRTUAL_ENV")
    variables = {name: text for name, text in os.environ.items() if name not in unset}
    variables |= {"KERAS_HOME": str(folder / "keras"), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*words):
        command = [commands / words[0], *words[1:]]
        return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)

    run.folder = folder
    return run


def test_the_wheel_holds_the_package_and_what_it_reads(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    source = fresh_environment.ROOT / "src"
    files = {path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path.relative_to(source).as_posix() for path in files} <= names
    assert "gridcast/experiments/smoke.yaml" in names


def test_a_sweep_away_from_the_repository_and_both_doors(call):
    sales(60).to_csv(call.folder / "sales.csv", index=False)
    write_experiment(call.folder / "small.yaml", selection={"promote_to": "small", "when_beaten": "warn"})
    swept = call("gridcast", "run", "small.yaml", "--workers", "2")
    assert (swept.returncode, swept.stderr) == (0, "")
    assert {"mlflow.db", "mlruns", "reports"} <= {path.name for path in call.folder.iterdir()}
    report = (call.folder / "reports" / "small" / "report.html").read_text()
    assert "tensorflow" not in report
    opened = call("python", "-c", DOORS, "models:/small@champion")
    assert opened.returncode == 0, opened.stderr
    backend, rows, parameters = json.loads(opened.stdout.splitlines()[-1])
    assert (backend, rows) == ("jax", 4)
    assert parameters > 0


def test_tensorflow_is_refused_with_the_command_that_installs_it(call):
    write_experiment(call.folder / "other.yaml")
    refused = call("gridcast", "run", "other.yaml", "--backend", "tensorflow")
    assert refused.returncode == 2
    assert refused.stderr == (
        "error: --backend tensorflow: it is not installed; run: pip install 'gridcast[tensorflow]'\n"
    )


def test_the_examples_are_written_once(call):
    first, again = call("gridcast", "examples"), call("gridcast", "examples")
    written = {path.name for path in (call.folder / "experiments").iterdir()}
    assert first.returncode == again.returncode == 0
    assert written >= {"smoke.yaml", "retail_daily.yaml"}
    assert "0 files written" in again.stdout
