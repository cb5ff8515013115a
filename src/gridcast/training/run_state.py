"""The state of an unfinished run on disk, from which an interrupted run continues to the same bits."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gridcast.data.atomic_write import TEMPORARY_PREFIX
from gridcast.training import atomic_bundle
from gridcast.training.atomic_bundle import DamagedError

CURVES = ("loss", "val_loss", "mae", "val_mae")
"""Names of the curves by epoch that a run leaves, those of Keras; `finished_run.curve_names` may add one."""
STATE_FILE = "state.json"
BEST_NETWORK = "best.keras"
STOCK_FORMAT, FUSED_FORMAT = "stock-2", "fused-2"
"""Format of the state that each training engine writes.

Raise the number of an engine in the same commit as any change to what it writes, or to what a written value means:
another set or order of arrays, another key, another order of random draws. A state of another format is discarded and
its run starts over; under an unchanged number it would be continued, with different weights as the result and no error.
"""


@dataclass(frozen=True)
class RunState:
    """The state of a run: `values` for JSON, `arrays` by name, and the best network as a .keras file.

    `best_network` is empty where the arrays hold the best weights.
    """

    values: dict[str, Any]
    arrays: Mapping[str, np.ndarray]
    best_network: bytes = b""


def epoch_times(values: Mapping[str, Any]) -> list[float]:
    """Return when the run of a saved state began and when its epochs ended; now, in a state of version 0.1."""
    return list(values.get("times") or [time.time()] * (1 + len(values["curves"]["loss"])))


def read_state(path: Path, state_format: str, like: Mapping[str, np.ndarray]) -> RunState:
    """Return the state that `write_state` left at `path`.

    `like` holds arrays of the names, shapes and types that the run has. Raises FileNotFoundError where there
    is no state, and DamagedError when it is damaged or of another run or format.
    """
    files = atomic_bundle.read(path)
    try:
        values = json.loads(files[STATE_FILE])
        arrays = {name: np.load(io.BytesIO(files[f"{name}.npy"]), allow_pickle=False) for name in like}
        fits = values["format"] == state_format and all(
            arrays[name].shape == array.shape and arrays[name].dtype == array.dtype for name, array in like.items()
        )
    except (KeyError, ValueError):
        fits = False
    if not fits:
        raise DamagedError(f"{path}: is not the state of this run")
    return RunState(values, arrays, files.get(BEST_NETWORK, b""))


def write_state(path: Path, state_format: str, state: RunState) -> None:
    """Write the state of a run to `path`, as a whole or not at all. Raises OSError."""
    files = {
        STATE_FILE: json.dumps({"format": state_format, **state.values}).encode(),
        BEST_NETWORK: state.best_network,
    }
    for name, array in state.arrays.items():
        content = io.BytesIO()
        np.save(content, array, allow_pickle=False)
        files[f"{name}.npy"] = content.getvalue()
    atomic_bundle.write(path, files)


def remove_state(path: Path) -> None:
    """Remove the state at `path`, and the temporary file of a process that was killed while it wrote there."""
    with suppress(OSError):
        # A former version named them without the prefix; nothing else is named after a run key.
        for prefix in (TEMPORARY_PREFIX, "."):
            for temporary in path.parent.glob(f"{prefix}{path.name}.*"):
                temporary.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
