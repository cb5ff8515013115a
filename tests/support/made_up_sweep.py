"""A made-up sweep in a real MLflow store: losses drawn around the effects of the settings."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from gridcast.config import Configuration
from gridcast.evaluation import artifact_files, forecast_table
from gridcast.tracking import mlflow_runs, run_recording
from gridcast.tracking.run_recording import RunEntry
from gridcast.tracking.store import Store, open_store

EPOCHS = 6
GRID = {"layer": ["GRU", "LSTM"], "attention": [False, True], "units": [8, 64], "dropout": [0.1, 0.2]}
EXPLAINED = {
    "windows": 90,
    "error": 0.6,
    "permuted": [
        {"name": "pieces", "kind": "target", "rise": 42.0, "spread": 2.0},
        {"name": "price", "kind": "covariate", "rise": 12.0, "spread": 1.0},
        {"name": "month", "kind": "covariate", "rise": 0.1, "spread": 0.4},
        *({"name": f"lag {lag}", "kind": "lag", "rise": 24.0 / lag, "spread": 1.0} for lag in range(1, 8)),
    ],
    "attention": [{"lag": lag, "share": 100 * 2.0 ** (7 - lag) / 127, "spread": 3.0} for lag in range(1, 8)],
}


BASELINES = ("last value", "seasonal naive", "training mean", "training median", "ETS", "ridge")


def sweep(
    folder: Path,
    grid: dict[str, list[Any]] | None = None,
    *,
    seeds: tuple[int, ...] = (0,),
    tested: bool = True,
    failed: int = 0,
    unfinished: int = 0,
    horizon: int = 1,
    levels: tuple[float, ...] = (),
    more: dict[str, Any] | None = None,
) -> Store:
    """Write a sweep named `made-up` into an SQLite store in `folder`; 64 units are better by a tenth.

    With `levels` the winner and two baselines give those quantiles, and the winner is explained; `more`
    goes into sweep.json.
    """
    store = open_store("made-up", f"sqlite:///{folder / 'mlflow.db'}")
    grid = GRID if grid is None else grid
    random = np.random.default_rng(0)
    runs = list(itertools.product(itertools.product(*grid.values()), seeds))
    keys = [f"key-{number:03d}" for number in range(len(runs))]
    baseline_keys = {name: f"baseline-{name}" for name in BASELINES}
    axes = [axis for axis, values in grid.items() if len(values) > 1]
    texts = {
        "sweep.json": json.dumps(about(keys, axes, baseline_keys) | {"horizon": horizon} | (more or {})),
        "experiment.yaml": "name: made-up\n# <script>alert('no')</script>\n",
    }
    parent = mlflow_runs.open_sweep(store, mlflow_runs.SweepEntry("made-up", "made-up", artifact_texts=texts))
    done = []
    for number, ((point, seed), key) in enumerate(zip(runs, keys, strict=True)):
        settings = dict(zip(grid, point, strict=True))
        configuration = Configuration(lookback=7, **settings).model_dump()
        name = f"{' '.join(map(str, point))} seed{seed}"
        if number < failed:
            run_recording.record_run(
                store, parent, RunEntry(name, "run", key, params=configuration, error="GridcastError: no longer finite")
            )
            continue
        if number >= len(runs) - unfinished:
            continue
        loss = 0.05 * (1.1 if configuration["units"] < 64 else 1.0) + random.normal(0, 1e-4)
        done.append((loss, key, name))
        by_origin = list(enumerate(np.abs(random.normal(loss, 0.01, 30)).tolist()))
        validation = {mlflow_runs.LOSS_BY_ORIGIN: by_origin}
        curve = list(enumerate((loss + 0.05 * np.exp(-np.arange(EPOCHS))).tolist(), start=1))
        run_recording.record_run(
            store,
            parent,
            RunEntry(
                name,
                kind="run",
                key=key,
                tags={
                    mlflow_runs.SEED_TAG: str(seed),
                    mlflow_runs.CONFIGURATION_TAG: json.dumps(configuration, sort_keys=True),
                },
                params=configuration,
                metrics={
                    "best_val_loss": loss,
                    "best_val_mae": 100 * loss,
                    "best_epoch": EPOCHS,
                    "epochs_trained": EPOCHS,
                    "fit_seconds": 1 + configuration["units"] / 16,
                    "parameters": configuration["units"] ** 2,
                },
                curves=dict.fromkeys(("loss", "val_loss", "mae", "val_mae"), curve),
                artifacts={mlflow_runs.VALIDATION_FILE: json.dumps(validation).encode()},
            ),
        )
    if tested and done:
        _, key, name = min(done)
        artifacts = {artifact_files.RECENT_HISTORY: artifact_files.parquet_bytes(recent())}
        if levels:
            artifacts[artifact_files.IMPORTANCE] = json.dumps(EXPLAINED).encode()
        _test(store, parent, name, "test", key, forecasts(random, 4.0, 40, horizon, levels), artifacts)
        for baseline, spread in zip(BASELINES, (9.0, 7.0, 8.0, 8.0, 4.0, 3.0), strict=True):
            quantiles = levels if baseline in ("seasonal naive", "ETS") else ()
            table = forecasts(random, spread, 40, horizon, quantiles)
            _test(store, parent, baseline, "baseline", baseline_keys[baseline], table)
    mlflow_runs.set_run_status(store, parent, "FINISHED")
    return store


def about(keys: list[str], axes: list[str], baseline_keys: dict[str, str]) -> dict[str, Any]:
    """The content of sweep.json, as a plan writes it."""
    return {
        "run_keys": keys,
        "axes": axes,
        "own_key": keys[0],
        "baseline_keys": baseline_keys,
        "series": ["a", "b", "c"],
        "target": "pieces",
        "spans": {span: ["2020-01-01 00:00:00", "2020-12-31 00:00:00"] for span in ("train", "validation", "test")},
        "windows": {"train": 900, "validation": 90, "test": 120},
        "period": 7,
        "notes": ["made up"],
        "fingerprint": "f" * 64,
        "versions": {"python": "3"},
        "backend": "jax",
        "machine": "test",
        "selection": {"metric": "best_val_loss", "promote_to": None},
    }


def level_of(steps: np.ndarray) -> np.ndarray:
    """The made-up sales at these steps of the test span, or before it."""
    return 100 + 10 * np.sin(steps / 7)


def forecasts(
    random: np.random.Generator, spread: float, steps: int = 40, horizon: int = 1, levels: tuple[float, ...] = ()
) -> pd.DataFrame:
    """A table of the test span of three series, errors of standard deviation `spread` at the first step.

    The deviation grows with the root of the step; quantiles at `levels` are those of such errors, so they are correct.
    """
    times = pd.date_range("2021-01-01", periods=steps).to_numpy()
    origins, ahead = steps - horizon + 1, np.arange(1, horizon + 1)
    series = np.repeat(np.arange(3), origins * horizon)
    at = np.tile((np.arange(origins)[:, None] + ahead - 1).ravel(), 3)
    step = np.tile(ahead, 3 * origins)
    actual = level_of(steps * series + at)
    forecast = actual + random.normal(0, spread, len(at)) * np.sqrt(step)
    columns = {f"q{level:g}": forecast + NormalDist().inv_cdf(level) * spread * np.sqrt(step) for level in levels}
    return pd.DataFrame(
        {
            "series": np.array(["a", "b", "c"])[series],
            "time": times[at],
            "step": step,
            "actual": actual,
            "forecast": forecast,
            "scale": 6.0,
            **columns,
        }
    )


def recent(steps: int = 60) -> pd.DataFrame:
    """The values observed right before the test span."""
    at = np.arange(-steps, 0)
    times = pd.Timestamp("2021-01-01") + pd.to_timedelta(at, unit="D")
    parts = [
        pd.DataFrame({"series": name, "time": times, "actual": level_of(40 * k + at)}) for k, name in enumerate("abc")
    ]
    return pd.concat(parts, ignore_index=True)


def _test(
    store: Store,
    parent: str,
    name: str,
    kind: str,
    key: str,
    table: pd.DataFrame,
    more: dict[str, bytes] | None = None,
) -> None:
    run_recording.record_run(
        store,
        parent,
        RunEntry(
            name,
            kind=kind,
            key=key,
            tags={},
            params={},
            metrics=forecast_table.measure_forecasts(table),
            artifacts={artifact_files.FORECASTS: artifact_files.parquet_bytes(table)} | (more or {}),
        ),
    )
