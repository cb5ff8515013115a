"""Wall time of a sweep of 216 short runs beside that of another version of gridcast: what its records in MLflow cost.

    python benchmarks/recording.py --other ../gridcast-0.1          # on SQLite
    python benchmarks/recording.py --other ../gridcast-0.1 --server # on an MLflow server with PostgreSQL

`--other` is a checkout of that version. The runs have few epochs, so that recording weighs more than in a real sweep.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from tracking_servers import MlflowServer, postgres  # noqa: E402

EXPERIMENT = """
version: 1
name: recording
data: {source: sales.csv, time: date, series: product, target: quantity, frequency: D, gaps: error, period: 7}
window: {lookback: 7, horizon: 1}
split: {train: 0.7, validation: 0.15, test: 0.15}
baseline: {layer: GRU, units: 8, dropout: 0.1, learning_rate: 0.01, batch_size: 32}
baselines: [last value]
grid:
  layer: [GRU, LSTM]
  units: [8, 16]
  dropout: [0.1, 0.2, 0.3]
  learning_rate: [0.01, 0.005, 0.001]
  batch_size: [32, 64]
training: {epochs: EPOCHS, patience: EPOCHS, seeds: [0, 1, 2]}
"""


def main() -> None:
    """Run the sweep in both versions, alternately, and print the seconds of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, required=True, help="checkout of another version")
    parser.add_argument("--server", action="store_true", help="record on an MLflow server with PostgreSQL")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    versions = {"this version": ROOT, "the other": options.other.resolve()}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(options.repeats + 1):  # the first one compiles the programs
            for name, checkout in versions.items():
                home = Path(folder, name.replace(" ", "-"))
                seconds = timed_sweep(home, checkout, epochs=options.epochs, on_server=options.server)
                label = "compiling" if repeat == 0 else f"repeat {repeat}"
                print(f"{name:14}{label:12}{seconds:8.1f} s", flush=True)


def timed_sweep(home: Path, checkout: Path, *, epochs: int, on_server: bool) -> float:
    """Return the seconds of a whole sweep by the version in `checkout`, in a new store; programs in `home` are kept."""
    home.mkdir(exist_ok=True)
    (home / "recording.yaml").write_text(EXPERIMENT.replace("EPOCHS", str(epochs)))
    sales().to_csv(home / "sales.csv", index=False)
    with tempfile.TemporaryDirectory() as store, tracking_uri(Path(store), on_server=on_server) as uri:
        variables = os.environ | {"PYTHONPATH": str(checkout / "src"), "MLFLOW_TRACKING_URI": uri}
        begun = time.perf_counter()
        command = [sys.executable, "-m", "gridcast.cli", "run", "recording.yaml"]
        subprocess.run(command, cwd=home, env=variables, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - begun


@contextlib.contextmanager
def tracking_uri(folder: Path, *, on_server: bool) -> Iterator[str]:
    """An empty store on SQLite, or on a server with PostgreSQL."""
    if not on_server:
        yield f"sqlite:///{folder}/mlflow.db"
        return
    with postgres() as database, MlflowServer(folder / "server", database) as server:
        yield server.uri


def sales() -> pd.DataFrame:
    """Daily sales of four products over 300 days."""
    generator, days = np.random.default_rng(0), pd.date_range("2024-01-01", periods=300)
    tables = []
    for number in range(4):
        weekly = 20 + 5 * np.sin(2 * np.pi * np.arange(300) / 7 + number)
        tables.append(pd.DataFrame({"date": days, "product": f"p{number}", "quantity": generator.poisson(weekly)}))
    return pd.concat(tables)


if __name__ == "__main__":
    main()
