"""What a trained run brings home; no Keras, so that a parent can read it without."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PausedRun:
    """What a run that was not to be trained to its end has so far: curves by epoch, and seconds of training."""

    curves: dict[str, tuple[float, ...]]
    seconds: float


@dataclass(frozen=True)
class TrainingResult:
    """What a finished run leaves: curves by epoch, final metrics, validation loss by origin, files.

    `origin_losses` are pairs of time step and mean loss over the series, `series_errors` of row and
    MAE in data units of that series; `files` the forecaster.
    """

    curves: dict[str, tuple[float, ...]]
    metrics: dict[str, float]
    origin_losses: tuple[tuple[int, float], ...]
    files: dict[str, bytes]
    series_errors: tuple[tuple[int, float], ...] = ()
