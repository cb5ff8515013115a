"""Frames of made-up runs, as a report reads them from MLflow."""

import itertools
import json
import math

import numpy as np
import pandas as pd

from gridcast.config import Configuration

LOSS = "best_val_loss"


RETAIL = {
    "layer": ["GRU", "LSTM"],
    "attention": [False, True],
    "units": [32, 64, 128],
    "dropout": [0.1, 0.2, 0.3],
    "learning_rate": [0.001, 0.0005, 0.0001],
    "batch_size": [32, 64],
}


def run(loss: float, seed: int = 0, seconds: float = 1.0, parameters: int = 100, **settings) -> dict:
    configuration = Configuration(**{"lookback": 7, **settings}).model_dump()
    text = json.dumps(configuration, sort_keys=True)
    name = " ".join(map(str, settings.values())) + (f" seed{seed}" if seed else "")
    return {
        "run_id": f"id {name}",
        "key": f"key {name} {seed}",
        "name": name,
        "seed": seed,
        "configuration": text,
        **configuration,
        "best_val_loss": loss,
        "best_val_mae": 10 * loss,
        "best_epoch": 3.0,
        "epochs_trained": 5.0,
        "fit_seconds": seconds,
        "parameters": parameters,
    }


def frame(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(run(0.0)))


def four() -> pd.DataFrame:
    """Two layers times two units: means 1.5 and 5.5 of the layers, 2 and 5 of the units, 3.5 of all."""
    return frame(
        run(8.0, layer="LSTM", units=64),
        run(1.0, layer="GRU", units=32),
        run(2.0, layer="GRU", units=64),
        run(3.0, layer="LSTM", units=32),
    )


def grid(effect, seeds=(0,), noise: float = 0.0, **axes) -> pd.DataFrame:
    """Every combination of `axes` with each seed, the loss `effect(settings)` plus noise."""
    random = np.random.default_rng(0)
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    return frame(*(run(effect(point) + noise * random.normal(), seed, **point) for point in points for seed in seeds))


def retail(seeds=(0,), noise: float = 0.02) -> pd.DataFrame:
    def effect(point):
        return (
            2.0
            + 0.5 * (point["layer"] == "GRU")
            + 0.3 * (point["units"] == 32)
            + 0.2 * math.log10(0.001 / point["learning_rate"])
            + 0.1 * (point["batch_size"] == 64)
        )

    return grid(effect, seeds, noise, **RETAIL)


EMPTY = [frame(), frame(run(math.nan, units=32), run(math.inf, units=64))]
