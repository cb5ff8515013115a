"""Seconds that the report of a large store takes: 2,000 finished runs of 50 epochs, on local SQLite.

    .venv/bin/python benchmarks/report_scale.py [runs]

The runs are generated (losses drawn around effects of the settings); everything else is the real path:
the MLflow store, reading it, every table, plot and page. Prints a line and writes
benchmarks/results/report_scale.json.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from gridcast.config import Configuration
from gridcast.evaluation import artifact_files, forecast_table
from gridcast.models.baselines import BASELINES
from gridcast.reporting import record, report
from gridcast.tracking import mlflow_runs, run_recording
from gridcast.tracking.store import Store, open_store

EPOCHS, ORIGINS, LIMIT = 50, 60, 60.0
GRID = {
    "layer": ["GRU", "LSTM"],
    "attention": [False, True],
    "units": [16, 32, 64, 128, 256],
    "dropout": [0.0, 0.1, 0.2, 0.3],
    "learning_rate": [0.01, 0.003, 0.001, 0.0003, 0.0001],
    "batch_size": [32, 64, 128, 256, 512],
}


def fill(store: Store, count: int) -> None:
    generator = np.random.default_rng(0)
    points = list(itertools.islice(itertools.cycle(itertools.product(*GRID.values())), count))
    keys = [f"key-{number}" for number in range(count)]
    baseline_keys = {name: f"baseline-{name}" for name in BASELINES}
    about = {
        "run_keys": keys,
        "axes": list(GRID),
        "own_key": keys[0],
        "baseline_keys": baseline_keys,
        "series": ["a", "b"],
        "target": "value",
        "spans": {span: ["2020-01-01", "2020-12-31"] for span in ("train", "validation", "test")},
        "windows": dict.fromkeys(("train", "validation", "test"), 100),
        "period": 7,
        "notes": ["made up"],
        "fingerprint": "0" * 64,
        "versions": {"python": platform.python_version()},
        "backend": "jax",
        "machine": platform.machine(),
        "selection": {"metric": "best_val_loss", "promote_to": None},
    }
    texts = {"sweep.json": json.dumps(about), "experiment.yaml": "name: scale\n"}
    parent = mlflow_runs.open_sweep(store, mlflow_runs.SweepEntry("scale", "scale", artifact_texts=texts))
    best = (np.inf, "")
    for number, point in enumerate(points):
        settings = dict(zip(GRID, point, strict=True))
        configuration = Configuration(lookback=7, **settings).model_dump()
        loss = 0.05 + 0.002 * (settings["units"] < 64) + 0.001 * abs(np.log10(settings["learning_rate"]) + 3)
        loss += generator.normal(0, 0.0005)
        curve = loss + 0.05 * np.exp(-np.arange(1, EPOCHS + 1) / 8)
        curves = {name: list(enumerate(map(float, curve), start=1)) for name in ("loss", "val_loss", "mae", "val_mae")}
        origins = np.abs(generator.normal(loss, 0.01, ORIGINS))
        validation = {mlflow_runs.LOSS_BY_ORIGIN: list(enumerate(map(float, origins)))}
        best = min(best, (float(curve[-1]), keys[number]))
        run = run_recording.RunEntry(
            name=f"run {number}",
            kind="run",
            key=keys[number],
            tags={
                mlflow_runs.SEED_TAG: str(number // int(np.prod([len(values) for values in GRID.values()]))),
                mlflow_runs.CONFIGURATION_TAG: json.dumps(configuration, sort_keys=True),
            },
            params=configuration,
            metrics={
                "best_val_loss": float(curve[-1]),
                "best_val_mae": 100 * loss,
                "best_epoch": EPOCHS,
                "epochs_trained": EPOCHS,
                "fit_seconds": 1 + settings["units"] / 16,
                "parameters": settings["units"] ** 2,
            },
            curves=curves,
            artifacts={mlflow_runs.VALIDATION_FILE: json.dumps(validation).encode()},
        )
        run_recording.record_run(store, parent, run)
    for name, key, kind in [("winner", best[1], "test"), *((n, k, "baseline") for n, k in baseline_keys.items())]:
        table = test_table(generator, 1.0 if kind == "test" else 1.3)
        content = {artifact_files.FORECASTS: artifact_files.parquet_bytes(table)}
        metrics = forecast_table.measure_forecasts(table)
        run_name = f"run {best[1].removeprefix('key-')}" if kind == "test" else name
        entry = run_recording.RunEntry(name=run_name, kind=kind, key=key, metrics=metrics, artifacts=content)
        run_recording.record_run(store, parent, entry)
    mlflow_runs.set_run_status(store, parent, "FINISHED")


def test_table(generator: np.random.Generator, spread: float) -> pd.DataFrame:
    times = pd.date_range("2021-01-01", periods=100)
    actual = 100 + 10 * np.sin(np.arange(200) / 7)
    return pd.DataFrame(
        {
            "series": np.repeat(["a", "b"], 100),
            "time": np.tile(times.to_numpy(), 2),
            "step": 1,
            "actual": actual,
            "forecast": actual + generator.normal(0, 5 * spread, 200),
            "scale": 6.0,
        }
    )


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        store = open_store("scale")
        started = time.perf_counter()
        fill(store, count)
        filled = time.perf_counter() - started
        started = time.perf_counter()
        found = record.read_sweep(store, "scale")
        read = time.perf_counter() - started
        path, _ = report.write_report(found, store)
        whole = time.perf_counter() - started
        size = path.stat().st_size
        os.chdir("/")
    figures = {
        "runs": count,
        "epochs": EPOCHS,
        "seconds_to_record": round(filled, 1),
        "seconds_to_read": round(read, 1),
        "seconds_for_the_report": round(whole, 1),
        "limit": LIMIT,
        "page_megabytes": round(size / 1e6, 2),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "report_scale.json").write_text(json.dumps(figures, indent=1) + "\n")
    verdict = "within" if whole <= LIMIT else "BEYOND"
    print(f"{count} runs of {EPOCHS} epochs: report in {whole:.1f} s ({read:.1f} s to read), {verdict} {LIMIT:.0f} s")


if __name__ == "__main__":
    main()
