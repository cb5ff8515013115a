"""Small experiments and tables that the tests share."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from gridcast import cli, config
from gridcast.config import Experiment
from gridcast.data.dataset import Dataset
from gridcast.runtime import loading
from gridcast.sweep import plan
from gridcast.sweep.plan import Plan

EXPERIMENTS = Path(__file__).parent.parent.parent / "experiments"

SMALL: dict[str, Any] = {
    "data": {"past": ["price"], "future": ["day_of_week"]},
    "window": {"horizon": 2},
    "transform": {"scale": "standard"},
    "training": {"epochs": 4, "patience": 2},
}
"""What several modules train on `sales(130)`: a program compiled for one serves the others."""


def settings(source: str = "sales.csv", **sections: Any) -> dict[str, Any]:
    """An experiment file's content: a small one, with `sections` in place of or within its own."""
    own: dict[str, Any] = {
        "version": 1,
        "name": "small",
        "data": {"source": source, "time": "date", "series": "product", "target": "quantity"},
        "window": {"lookback": 7, "horizon": 1},
        "baseline": {"layer": "GRU", "units": 4, "dropout": 0.1, "learning_rate": 0.01, "batch_size": 32},
        "training": {"epochs": 2, "patience": 2},
    }
    for name, section in sections.items():
        both = isinstance(section, dict) and isinstance(own.get(name), dict)
        own[name] = own[name] | section if both else section
    return own


def experiment(source: str = "sales.csv", **sections: Any) -> Experiment:
    """The same, typed."""
    return config.parse(yaml.safe_dump(settings(source, **sections), sort_keys=False))


def write_experiment(path: Path, source: str = "sales.csv", **sections: Any) -> Path:
    """The same, as a YAML file at `path`."""
    path.write_text(yaml.safe_dump(settings(source, **sections), sort_keys=False))
    return path


def sales(days: int = 120, products: tuple[str, ...] = ("apple", "pear"), seed: int = 0) -> pd.DataFrame:
    """Columns date (text), product, quantity and price: a weekly cycle with noise, every day of every product."""
    random = np.random.default_rng(seed)
    dates = pd.date_range("2023-01-02", periods=days).strftime("%Y-%m-%d")
    weekly = 10 + 4 * np.sin(2 * np.pi * np.arange(days) / 7)
    tables = []
    for number, product in enumerate(products, start=1):
        noise = random.normal(size=days)
        quantity = np.round(number * weekly + noise, 2)
        price = np.round(5 + number - noise / 4, 2)
        tables.append(pd.DataFrame({"date": dates, "product": product, "quantity": quantity, "price": price}))
    return pd.concat(tables, ignore_index=True)


def planned(folder: Path, frame: pd.DataFrame, *, backend: str = "jax", **sections: Any) -> Plan:
    """The plan of an experiment on `frame`, kept as sales.csv in `folder`."""
    frame.to_csv(folder / "sales.csv", index=False)
    return plan.make_plan(experiment(str(folder / "sales.csv"), **sections), "", backend)


def with_training(dataset: Dataset, **changes: Any) -> Dataset:
    """The same dataset with `changes` to the training section of its experiment, such as epochs=1."""
    return replace(dataset, training=dataset.training.model_copy(update=changes))


def same(one: Any, other: Any) -> bool:
    """Whether two outcomes agree in everything but the time they took, weights to the bit."""

    assert one.curves == other.curves
    assert one.metrics | {"fit_seconds": 0} == other.metrics | {"fit_seconds": 0}
    assert one.origin_losses == other.origin_losses
    for left, right in zip(
        *(loading.load_from_bytes(found.files).network.get_weights() for found in (one, other)), strict=True
    ):
        np.testing.assert_array_equal(left, right)
    return True


def watching(source: str = "sensors.csv", **sections: Any) -> dict[str, Any]:
    """The content of an experiment file that looks for anomalies, with `sections` in place of or within its own."""
    own: dict[str, Any] = {
        "version": 1,
        "name": "watched",
        "task": "anomaly",
        "data": {"source": source, "time": "time", "labels": "anomaly", "frequency": "min"},
        "window": {"lookback": 6},
        "split": {"train": 0.6, "validation": 0.15, "test": 0.25},
        "baseline": {"layer": "GRU", "units": 4, "latent": 2, "dropout": 0.0, "learning_rate": 0.01, "batch_size": 32},
        "training": {"epochs": 2, "patience": 2},
    }
    for name, section in sections.items():
        both = isinstance(section, dict) and isinstance(own.get(name), dict)
        own[name] = own[name] | section if both else section
    return own


def readings(steps: int = 480, seed: int = 0) -> pd.DataFrame:
    """Columns time, flow, heat and anomaly: two sensors that swing together, and apart from step 400 to 419."""
    random, at = np.random.default_rng(seed), np.arange(steps)
    swing = np.sin(2 * np.pi * at / 40)
    flow = 20 + 3 * swing + 0.1 * random.normal(size=steps)
    heat = 300 + 20 * swing + random.normal(size=steps)
    anomaly = (at >= 400) & (at < 420)
    return pd.DataFrame(
        {
            "time": pd.date_range("2024-01-01", periods=steps, freq="min").strftime("%Y-%m-%d %H:%M"),
            "flow": np.round(flow, 3),
            "heat": np.round(heat + 120 * anomaly, 3),
            "anomaly": anomaly.astype(int),
        }
    )


def watched(folder: Path, frame: pd.DataFrame, *, backend: str = "jax", **sections: Any) -> Plan:
    """The plan of an experiment that looks for anomalies in `frame`, kept as sensors.csv in `folder`."""
    frame.to_csv(folder / "sensors.csv", index=False)
    text = yaml.safe_dump(watching(str(folder / "sensors.csv"), **sections), sort_keys=False)
    return plan.make_plan(config.parse(text), text, backend)


def gridcast(folder: Path, *words: str) -> CompletedProcess[str]:
    """Run the command in `folder`, on the store there, in this process: another one would import for seconds."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setattr(sys, "argv", ["gridcast", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return CompletedProcess(words, int(ended.value.code or 0), out.getvalue(), err.getvalue())
