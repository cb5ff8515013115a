"""How much the coverage of intervals loses because early stopping and selection use the span that calibrates them.

    .venv/bin/python benchmarks/calibration_span.py [--rounds N]

Each round simulates autoregressive series, trains a small grid of probabilistic networks with early stopping on a
validation span, and selects the best by its weighted quantile loss there. Its intervals of 80 % are then calibrated
twice: on the validation span itself, as `gridcast run` does, and on a span of the same length after it that nothing has
used. A long test span measures the coverage of both. Prints the means over the rounds with their standard errors, also
without any calibration, and writes benchmarks/results/calibration_span.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from gridcast import config
from gridcast.data.splits import Spans
from gridcast.evaluation import metrics
from gridcast.runtime import loading
from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.quantiles import Quantiles
from gridcast.sweep import plan
from gridcast.training import calibration, keras_backend

RESULTS = Path(__file__).resolve().parent / "results" / "calibration_span.json"
SERIES, TRAIN, VALIDATION, TEST = 4, 200, 60, 1200
STEPS = TRAIN + 2 * VALIDATION + TEST
LEVELS = (0.1, 0.9)
WAYS = {"none": "not calibrated", "same": "on the validation span", "fresh": "on a span of its own"}
EXPERIMENT: dict[str, Any] = {
    "version": 1,
    "name": "calibration",
    "task": "probabilistic",
    "data": {"source": "table.csv", "time": "date", "series": "series", "target": "value", "frequency": "D"},
    "window": {"lookback": 8, "horizon": 2},
    "split": dict(
        zip(("train", "validation", "test"), (TRAIN / STEPS, 2 * VALIDATION / STEPS, TEST / STEPS), strict=True)
    ),
    "baseline": {"layer": "GRU", "units": 8, "dropout": 0.1, "batch_size": 32, "likelihood": "quantile"},
    "grid": {"learning_rate": [0.02, 0.01, 0.005], "dropout": [0.0, 0.2]},
    "probabilistic": {"quantiles": list(LEVELS)},
    "training": {"epochs": 40, "patience": 8, "seeds": [0, 1]},
}


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    started, coverages = time.perf_counter(), []
    with tempfile.TemporaryDirectory(prefix="gridcast-benchmark-") as folder:
        keras_backend.start("jax", Path(folder))
        for seed in range(rounds):
            coverages.append(one_round(Path(folder), seed))
            print(f"{seed}: " + ", ".join(f"{way} {value:.1%}" for way, value in coverages[-1].items()), flush=True)
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps({"rounds": coverages, "seconds": time.perf_counter() - started}) + "\n")
    for way, title in WAYS.items():
        print(f"{title:<26}{_mean([row[way] for row in coverages])}")
    print(f"{'cost of using it twice':<26}{_mean([row['fresh'] - row['same'] for row in coverages])}")


def one_round(folder: Path, seed: int) -> dict[str, float]:
    """Return the coverage of the winner's intervals on the test span by way of calibration."""
    from gridcast.training import fused_fit  # noqa: PLC0415 - after the backend is chosen

    series(seed).to_csv(folder / "table.csv", index=False)
    text = yaml.safe_dump(EXPERIMENT | {"data": EXPERIMENT["data"] | {"source": str(folder / "table.csv")}})
    made = plan.make_plan(config.parse(text), text, "jax")
    # Two spans of the same length, for selection and for calibration, between training and test.
    selection = replace(made.dataset, spans=Spans(TRAIN, TRAIN + VALIDATION, TRAIN + 2 * VALIDATION + TEST))
    fresh = replace(selection, spans=Spans(TRAIN + VALIDATION, TRAIN + 2 * VALIDATION, selection.spans.test))
    runs = list(made.runs.values())
    results = fused_fit.train(selection, runs, state_paths=[None] * len(runs), siblings=len(runs))
    best = min(range(len(runs)), key=lambda k: results[k].metrics["best_val_wql"])
    settings, network = runs[best].configuration, loading.load_from_bytes(results[best].files).network
    lookback = settings.lookback
    calibrated: dict[str, Quantiles] = {}
    for way, dataset in (("same", selection), ("fresh", fresh)):
        windows = dataset.origins("validation", lookback)
        _, calibrated[way] = calibration.calibrate_quantiles(selection, settings, network, windows)
    calibrated["none"] = replace(calibrated["same"], correction=None)
    index = fresh.origins("test", lookback)
    return {way: _coverage(selection, settings, network, calibrated[way], index) for way in WAYS}


def series(seed: int) -> pd.DataFrame:
    """Autoregressive series with a weekly cycle, whose noise is the same throughout."""
    random = np.random.default_rng(seed)
    values = np.zeros((SERIES, STEPS))
    for step in range(1, STEPS):
        values[:, step] = 0.7 * values[:, step - 1] + random.normal(size=SERIES)
    values += 20 + 3 * np.sin(2 * np.pi * np.arange(STEPS) / 7)
    dates = pd.date_range("2015-01-01", periods=STEPS, name="date")
    wide = pd.DataFrame(values.T, dates, [f"s{k}" for k in range(SERIES)])
    return wide.melt(var_name="series", value_name="value", ignore_index=False).reset_index()


def _coverage(dataset: Any, settings: Any, network: Any, quantiles: Quantiles, index: np.ndarray) -> float:
    forecaster = Forecaster(dataset.preprocessing_for(settings), network, quantiles)
    low, high = np.moveaxis(forecaster.quantiles_of(dataset.channels, index, dataset.series_codes, LEVELS), -1, 0)
    return metrics.coverage(dataset.targets(index), low, high)


def _mean(values: list[float]) -> str:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):6.1%} ± {error:.1%}"


if __name__ == "__main__":
    main()
