"""Input and output files of the peers."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

INPUTS = ("history", "ahead", "series")
NETWORK = ("layer", "bidirectional", "units", "dropout", "learning_rate", "attention")
"""The settings that `network.build` takes; `batch_size` belongs to the fit."""


@dataclass(frozen=True)
class Task:
    """The grid and its windows.

    `axes` maps a setting to its values, `fixed` to its only one. `series` are the names by code. `train`
    and `validation` hold the network's inputs by name; `train_target` and `validation_target` are
    (n, horizon), scaled.
    """

    name: str
    axes: dict[str, list[Any]]
    fixed: dict[str, Any]
    sizes: dict[str, int]
    series: list[str]
    epochs: int
    patience: int
    train: dict[str, np.ndarray]
    train_target: np.ndarray
    validation: dict[str, np.ndarray]
    validation_target: np.ndarray


_started = 0.0
"""Time at which the task was read: by then a peer has imported its tools."""


def read(folder: Path) -> Task:
    """Return the task that `windows.write` wrote to `folder`."""
    global _started  # noqa: PLW0603 - one task a process
    _started = time.perf_counter()
    about = json.loads((folder / "grid.json").read_text())
    with np.load(folder / "windows.npz") as windows:
        arrays = dict(windows)
    return Task(
        **about,
        train={name: arrays[f"train_{name}"] for name in INPUTS},
        train_target=arrays["train_target"],
        validation={name: arrays[f"validation_{name}"] for name in INPUTS},
        validation_target=arrays["validation_target"],
    )


def write(folder: Path, best: float, trained: int) -> None:
    """Write the lowest validation loss, the number of runs, and the seconds since the task was read."""
    result = {"best_val_loss": float(best), "trained": trained, "grid_seconds": time.perf_counter() - _started}
    (folder / "result.json").write_text(json.dumps(result))
