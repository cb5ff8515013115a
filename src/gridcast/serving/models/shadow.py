"""Log served predictions and run challengers on the same requests, after the client has its response."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gridcast.monitoring.prediction_log import SHADOW, PredictionLog
from gridcast.serving import json_logging
from gridcast.serving.models.pool import ModelPool
from gridcast.serving.models.served_model import ServedModel

LOG = logging.getLogger(json_logging.LOGGER_NAME)
MAX_PENDING = 1000
"""Predictions that may wait to be logged; further ones are dropped with a warning."""


@dataclass(frozen=True)
class ServedPrediction:
    """A response that was sent for the request with id `request`, by the model `served`.

    `history` and `forecasts` build the tables of what the client sent and received; `horizon` and `levels` are those of
    the response.
    """

    request: str
    served: ServedModel
    history: Callable[[], pd.DataFrame]
    forecasts: Callable[[], pd.DataFrame]
    horizon: int
    levels: tuple[float, ...]


class ShadowDeployment:
    """A thread that logs predictions and runs challengers; it does nothing without a `log`.

    `shadows` maps the name of a model to that of its challenger, one of the pool of `challengers`.
    """

    def __init__(self, log: PredictionLog | None, challengers: ModelPool, shadows: Mapping[str, str]) -> None:
        self._log, self._challengers, self._shadows = log, challengers, shadows
        self._executor = ThreadPoolExecutor(1, "shadow")
        self._free_slots = threading.Semaphore(MAX_PENDING)

    def start(self) -> None:
        """Start to watch the aliases of the challengers."""
        self._challengers.start()

    def submit(self, prediction: ServedPrediction) -> None:
        """Log the prediction, and let the challenger of its model answer the same request."""
        if self._log is None:
            return
        if self._free_slots.acquire(blocking=False):
            self._executor.submit(self._process, self._log, prediction)
        else:
            _warn(prediction, {})

    def close(self) -> None:
        """Finish what is pending and close the log."""
        self._challengers.close()
        self._executor.shutdown()
        if self._log is not None:
            self._log.close()

    def _process(self, log: PredictionLog, prediction: ServedPrediction) -> None:
        try:
            served, history = prediction.served, prediction.history()
            log.add(
                prediction.request,
                model=served.name,
                version=served.version,
                history=history,
                forecasts=prediction.forecasts(),
            )
            if served.name in self._shadows:
                challenger = self._challengers.get(self._shadows[served.name])
                log.add(
                    prediction.request,
                    model=served.name,
                    version=challenger.version,
                    history=history,
                    forecasts=_challenger_forecasts(challenger, history, prediction),
                    role=SHADOW,
                )
        except Exception as error:  # noqa: BLE001 - the client has its response
            _warn(prediction, json_logging.exception_fields(error))
        finally:
            self._free_slots.release()


def _challenger_forecasts(challenger: ServedModel, history: pd.DataFrame, prediction: ServedPrediction) -> pd.DataFrame:
    has_levels = prediction.levels and challenger.levels is not None
    levels = {"quantiles": prediction.levels} if has_levels else {}
    with np.errstate(all="ignore"):
        return challenger.forecaster.predict(history, {"horizon": prediction.horizon, **levels})


def _warn(prediction: ServedPrediction, fields: Mapping[str, str]) -> None:
    about = {"request": prediction.request, "model": prediction.served.name, **fields}
    LOG.warning("not kept", extra={"fields": about})
