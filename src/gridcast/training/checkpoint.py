"""State of a run that is under way, kept on disk: what is interrupted goes on to the same bits."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from gridcast.training import atomic_bundle
from gridcast.training.atomic_bundle import DamagedError
from gridcast.training.limits import TrainingClock

if TYPE_CHECKING:
    from gridcast.training.batches import WindowBatches


CURVES = ("loss", "val_loss", "mae", "val_mae")
STATE = "state.json"
BEST = "best.keras"
FORMAT = "stock-2"
"""To be raised when something else is kept than before: what an older gridcast left is then not taken up."""
_LOG = logging.getLogger("gridcast")


def read(path: Path, form: str, like: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, np.ndarray], bytes]:
    """State, arrays and best network (empty where arrays hold that) that were written at `path`.

    `form` tells who wrote it, `like` which arrays a run has. Raises FileNotFoundError where nothing
    was kept, and DamagedError when it is not the state of such a run.
    """
    files = atomic_bundle.read(path)
    try:
        state = json.loads(files[STATE])
        arrays = {name: np.load(io.BytesIO(files[f"{name}.npy"]), allow_pickle=False) for name in like}
        fits = state["format"] == form and all(
            arrays[name].shape == array.shape and arrays[name].dtype == array.dtype for name, array in like.items()
        )
    except (KeyError, ValueError):
        fits = False
    if not fits:
        raise DamagedError(f"{path}: is not the state of this run")
    return state, arrays, files.get(BEST, b"")


def write(path: Path, form: str, state: dict[str, Any], arrays: Mapping[str, np.ndarray], best: bytes = b"") -> None:
    """Keep the state of a run at `path`, whole or not at all. Raises OSError."""
    files = {STATE: json.dumps({"format": form, **state}).encode(), BEST: best}
    for name, array in arrays.items():
        content = io.BytesIO()
        np.save(content, array, allow_pickle=False)
        files[f"{name}.npy"] = content.getvalue()
    atomic_bundle.write(path, files)


def remove(path: Path) -> None:
    """Leave nothing at `path`, nor what a killed process was writing there."""
    with suppress(OSError):
        for left in path.parent.glob(f".{path.name}.*"):
            left.unlink(missing_ok=True)
        path.unlink(missing_ok=True)


class CheckpointCallback(keras.callbacks.Callback):
    """Collects the curves of a run, and keeps all of its state at `path` so that `resume` can go on with it.

    Saved at the first end of an epoch that comes `seconds` or more after the last time. This
    callback must be the last one: what `stopping` and `best` know of an epoch is then settled, and
    what Keras resets when training begins is put in place after that.
    """

    def __init__(
        self,
        path: Path | None,
        seconds: float,
        clock: TrainingClock,
        network: keras.Model,
        batches: WindowBatches,
        stopping: keras.callbacks.EarlyStopping,
        best: keras.callbacks.ModelCheckpoint,
        until: int,
    ) -> None:
        super().__init__()
        assert batches.generator is not None
        self.generator = batches.generator
        self.path, self.seconds, self.clock = path, seconds, clock
        self.network, self.batches, self.stopping, self.best = network, batches, stopping, best
        self.curves: dict[str, list[float]] = {name: [] for name in CURVES}
        self.until, self.stopped = until, False
        self._kept: tuple[dict[str, Any], dict[str, np.ndarray]] | None = None
        self._last = clock.spent()
        self._warned = False

    @property
    def over(self) -> bool:
        """Whether all epochs are trained that shall be."""
        return self.stopped or self.epochs >= self.until

    @property
    def epochs(self) -> int:
        """How many epochs are trained."""
        return len(self.curves["loss"])

    def resume(self) -> None:
        """Take up the run kept at `path`, if there is one; one that is damaged is removed, with a warning.

        Afterwards `epochs` are trained already, and all that shall be if the run is `over`.
        """
        if self.path is None:
            return
        self.network.optimizer.build(self.network.trainable_variables)
        try:
            state, arrays, best = read(self.path, FORMAT, self._arrays())
        except FileNotFoundError:
            return
        except (DamagedError, OSError) as error:
            _LOG.warning("%s; the run starts over", error)
            self.remove()
            return
        Path(self.best.filepath).write_bytes(best)
        self.curves, self.stopped = state["curves"], state["stopped"]
        self.clock.before += state["seconds"]
        self._last = self.clock.spent()
        self._kept = state, arrays

    def _arrays(self) -> dict[str, np.ndarray]:
        """All that training changes: weights, states of the random generators, optimizer, order of the windows."""
        found = {name: keras.ops.convert_to_numpy(variable) for name, variable in self._variables().items()}
        return found | {"order": self.batches.order}

    def _variables(self) -> dict[str, Any]:
        both = [*self.network.variables, *self.network.optimizer.variables]
        return {f"variable-{number}": variable for number, variable in enumerate(both)}

    def on_train_begin(self, *_: Any) -> None:
        """Put the state that was taken up in place: by now Keras has shuffled, and reset EarlyStopping."""
        if self._kept is None:
            return
        state, arrays = self._kept
        for name, variable in self._variables().items():
            variable.assign(arrays[name])
        self.batches.order = arrays["order"]
        self.generator.bit_generator.state = state["generator"]
        for name, value in state["stopping"].items():
            setattr(self.stopping, name, value)
        self.best.best = state["best"]
        self._kept = None

    def on_epoch_end(self, _: int, logs: dict[str, float]) -> None:
        """Add to the curves; save when it is time."""
        for name, curve in self.curves.items():
            curve.append(float(logs[name]))
        self.stopped = self.network.stop_training
        if self.path is not None and self.clock.spent() - self._last >= self.seconds:
            self.save()
            self._last = self.clock.spent()

    def save(self) -> None:
        """Keep all of it, if there is a path for it; a failure is told once."""
        if self.path is None:
            return
        stopping = {name: getattr(self.stopping, name) for name in ("wait", "best", "best_epoch", "stopped_epoch")}
        state = {
            "curves": self.curves,
            "stopped": self.stopped,
            "seconds": self.clock.spent(),
            "stopping": stopping,
            "best": self.best.best,
            "generator": self.generator.bit_generator.state,
        }
        try:
            write(self.path, FORMAT, state, self._arrays(), Path(self.best.filepath).read_bytes())
        except OSError as error:
            if not self._warned:
                _LOG.warning("%s: the state of the run cannot be saved (%s); training goes on", self.path, error)
            self._warned = True

    def remove(self) -> None:
        """Leave nothing of the run's state."""
        if self.path is not None:
            remove(self.path)
