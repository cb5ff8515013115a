"""Results of training a run; no Keras, so that a parent process can read them without."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PausedRun:
    """A run that was stopped before its end: curves by epoch, seconds of training so far, and `times`.

    `times` are when the run began and when each of its epochs ended, in seconds since 1970.
    """

    curves: dict[str, tuple[float, ...]]
    seconds: float
    times: tuple[float, ...]


@dataclass(frozen=True)
class TrainingResult:
    """A finished run: curves by epoch, final metrics, validation losses, and the `files` of its model.

    `origin_losses` are pairs of a time step and the mean loss over the series there, `series_errors` pairs of a row of
    the panel and the MAE of that series in data units. `times` are those of `PausedRun`.
    """

    curves: dict[str, tuple[float, ...]]
    metrics: dict[str, float]
    origin_losses: tuple[tuple[int, float], ...]
    files: dict[str, bytes]
    series_errors: tuple[tuple[int, float], ...] = ()
    times: tuple[float, ...] = ()
