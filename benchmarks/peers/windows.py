"""Files with the windows that gridcast itself would train on, for every peer to read.

.venv/bin/python benchmarks/peers/windows.py EXPERIMENT FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from gridcast import config
from gridcast.config import Configuration, Experiment
from gridcast.runtime.network_inputs import network_inputs
from gridcast.sweep import plan

DATA = Path(__file__).parent.parent / ".data"
"""Folder of the built-in data sets, so that no contender has to download them."""
BUILT = ("layer", "bidirectional", "units", "dropout", "learning_rate", "batch_size", "attention")
"""Settings of the peers' network; the others must have their defaults."""


def write(path: Path, folder: Path) -> int:
    """Write `windows.npz` and `grid.json` for the experiment at `path` into `folder`; returns the number of runs."""
    experiment = config.read(path)
    planned = plan.make_plan(experiment, path.read_text(encoding="utf-8"), "jax", cache=DATA)
    axes, fixed = _grid(experiment)
    dataset, lookback = planned.dataset, experiment.window.lookback
    arrays = {}
    for span in ("train", "validation"):
        index = dataset.origins(span, lookback)
        read = network_inputs(
            dataset.preprocessing_for(experiment.configuration()), dataset.channels, index, dataset.series_codes
        )
        arrays |= {f"{span}_{name}": array for name, array in read.items()}
        arrays[f"{span}_target"] = dataset.scaled_targets(index)
    np.savez(folder / "windows.npz", **arrays)
    channels, ahead = arrays["train_history"].shape[2], arrays["train_ahead"].shape[2]
    about = {
        "name": experiment.name,
        "axes": axes,
        "fixed": fixed,
        "sizes": {
            "lookback": lookback,
            "channels": channels,
            "horizon": experiment.window.horizon,
            "ahead": ahead,
            "series": len(dataset.preprocessing.series),
        },
        "series": list(dataset.preprocessing.series),
        "epochs": experiment.training.epochs,
        "patience": experiment.training.patience,
    }
    (folder / "grid.json").write_text(json.dumps(about, indent=1))
    return len(planned.runs)


def _grid(experiment: Experiment) -> tuple[dict[str, list[object]], dict[str, object]]:
    """The axes with their values, and the settings that stay the same. Raises SystemExit where no peer can do it."""
    if len(experiment.grid) > 1:
        raise SystemExit("grid: the peers support one mapping of axes, not a union of several")
    axes = {axis: list(values) for axis, values in experiment.grid[0].items()}
    fixed = experiment.configuration().model_dump()
    defaults = Configuration(lookback=experiment.window.lookback).model_dump()
    for name, value in fixed.items():
        if name not in BUILT and (name in axes or value != defaults[name]):
            raise SystemExit(f"{name}: the peers' network supports only the default ({defaults[name]})")
    return axes, {name: fixed[name] for name in BUILT if name not in axes}


if __name__ == "__main__":
    print(write(Path(sys.argv[1]), Path(sys.argv[2])), "runs")
