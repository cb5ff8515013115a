"""The wheel, installed without TensorFlow in an environment of its own, away from the repository."""

import json
import os
import re
import subprocess
import venv
import zipfile

import pytest

import fresh_environment
from small_experiments import SMALL, sales, write_experiment

MAX_BYTES = 1.5e9
"""Size of an installation without extras."""
DOORS = """
import json, mlflow, pandas, sys
table = mlflow.pyfunc.load_model(sys.argv[1]).predict(pandas.read_csv("sales.csv"), params={"horizon": 2})
network = mlflow.keras.load_model(sys.argv[1])
import keras
print(json.dumps([keras.backend.backend(), len(table), network.count_params()]))
"""


class Elsewhere:
    """An empty folder, and the commands of an environment."""

    def __init__(self, commands, folder):
        self.commands, self.folder = commands, folder
        unset = ("KERAS_BACKEND", "MLFLOW_TRACKING_URI", "PYTHONPATH", "VIRTUAL_ENV")
        self.variables = {name: text for name, text in os.environ.items() if name not in unset}
        self.variables |= {"KERAS_HOME": str(folder / "keras")}

    def call(self, command, *words):
        """The finished process of a command."""
        command = [self.commands / command, *words]
        return subprocess.run(command, cwd=self.folder, env=self.variables, capture_output=True, text=True, check=False)

    def sweep_and_open(self, workers):
        """Train a small sweep and open its winner by both doors."""
        sales(130).to_csv(self.folder / "sales.csv", index=False)
        write_experiment(self.folder / "small.yaml", **SMALL, baselines=["Theta"])
        swept = self.call("gridcast", "run", "small.yaml", "--workers", str(workers))
        assert (swept.returncode, swept.stderr) == (0, "")
        assert re.search(r"Theta +0\.\d", swept.stdout)
        assert {"mlflow.db", "mlruns", "reports"} <= {path.name for path in self.folder.iterdir()}
        report = (self.folder / "reports" / "small" / "report.html").read_text()
        assert "keras 3." in report
        assert "tensorflow" not in report
        (uri,) = re.findall(r'load_model\("(.*)"\)', swept.stdout)
        opened = self.call("python", "-c", DOORS, uri)
        assert opened.returncode == 0, opened.stderr
        backend, rows, parameters = json.loads(opened.stdout.splitlines()[-1])
        assert (backend, rows) == ("jax", 4)
        assert parameters > 0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return fresh_environment.build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def elsewhere(wheel, tmp_path_factory):
    commands = fresh_environment.install_alone(wheel, tmp_path_factory.mktemp("environment"))
    folder = tmp_path_factory.mktemp("elsewhere")
    return Elsewhere(commands, folder)


def test_the_wheel_holds_the_package_and_what_it_reads(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    source = fresh_environment.ROOT / "src"
    files = {path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path.relative_to(source).as_posix() for path in files} <= names
    assert "gridcast/experiments/smoke.yaml" in names


def test_a_sweep_away_from_the_repository_and_both_doors(elsewhere):
    elsewhere.sweep_and_open(workers=2)


def test_tensorflow_is_refused_with_the_command_that_installs_it(elsewhere):
    write_experiment(elsewhere.folder / "other.yaml")
    refused = elsewhere.call("gridcast", "run", "other.yaml", "--backend", "tensorflow")
    assert refused.returncode == 2
    assert refused.stderr == (
        "error: --backend tensorflow: it is not installed; run: pip install 'gridcast[tensorflow]'\n"
    )


def test_the_examples_are_named_where_they_are_missing_and_written_over_nothing(elsewhere):
    missing = elsewhere.call("gridcast", "validate", "experiments/smoke.yaml")
    assert missing.returncode == 2
    assert "run `gridcast examples`, which writes it" in missing.stderr
    examples = elsewhere.folder / "experiments"
    examples.mkdir()
    (examples / "met_mast.yaml").write_text("mine")
    written = elsewhere.call("gridcast", "examples")
    assert (written.returncode, written.stderr) == (0, "")
    assert "1 were there already" in written.stdout
    assert {path.name for path in examples.iterdir()} >= {"smoke.yaml", "retail_daily.yaml"}
    assert (examples / "met_mast.yaml").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_from_the_package_index_it_takes_one_and_a_half_gigabytes_at_most(wheel, tmp_path):
    """By the sizes of the files and by the blocks of the disk, with pip itself; and everything works there."""
    root = tmp_path / "environment"
    venv.create(root, symlinks=True, with_pip=True)
    subprocess.run([root / "bin" / "pip", "install", "--quiet", wheel], check=True)
    status = [path.lstat() for path in root.rglob("*")]
    sizes = sum(one.st_size for one in status), sum(one.st_blocks * 512 for one in status)
    assert max(sizes) <= MAX_BYTES
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    place = Elsewhere(root / "bin", folder)
    place.sweep_and_open(workers=1)
    doctor = place.call("gridcast", "doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert "Keras computes on jax" in doctor.stdout
    assert place.call("pip", "check").returncode == 0
    # The command that the error names; gridcast itself need not be in the index for it.
    planned = place.call("pip", "install", "--dry-run", "gridcast[tensorflow]")
    assert "Would install" in planned.stdout
    assert "tensorflow-2.21" in planned.stdout
