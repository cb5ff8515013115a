"""What is done with an answer once it is given: it is kept, and challengers answer the same question unheard."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import pandas as pd

from gridcast.serving import json_logging
from gridcast.serving.models.pool import ModelPool
from gridcast.serving.models.served_model import ServedModel

LOG = logging.getLogger(json_logging.LOGGER_NAME)
MAX_PENDING = 1000
"""Answers that may wait to be kept; more are not, and a warning says so."""


class Asked(Protocol):
    """What was asked: so many steps, and these quantiles."""

    @property
    def horizon(self) -> int: ...  # noqa: D102

    @property
    def levels(self) -> Sequence[float]: ...  # noqa: D102


class ShadowDeployment:
    """A thread of its own for what no client waits for. Where nothing is `kept`, it does nothing.

    `shadows` gives to the name of a model that of its challenger, which is one of the `challengers`.
    """

    def __init__(self, kept: Any, challengers: ModelPool, shadows: Mapping[str, str]) -> None:
        self._kept, self._challengers, self._shadows = kept, challengers, shadows
        self._pool = ThreadPoolExecutor(1, "aside")
        self._waiting = threading.Semaphore(MAX_PENDING)

    @property
    def idle(self) -> bool:
        """Whether nothing is kept."""
        return self._kept is None

    def answered(
        self,
        request: str,
        served: ServedModel,
        history: Callable[[], pd.DataFrame],
        forecasts: Callable[[], pd.DataFrame],
        asked: Asked,
    ) -> None:
        """Keep what was asked and answered, and let the challenger of the model answer too."""
        if self.idle:
            return
        if not self._waiting.acquire(blocking=False):
            LOG.warning("not kept", extra={"told": {"request": request, "model": served.name}})
            return

        def work() -> None:
            try:
                table = history()
                self._kept.add(
                    request, model=served.name, version=served.version, history=table, forecasts=forecasts()
                )
                if served.name in self._shadows:
                    self._unheard(request, served, table, asked)
            except Exception as error:  # noqa: BLE001 - the client has its answer
                told = {"request": request, "model": served.name, **json_logging.exception_fields(error)}
                LOG.warning("not kept", extra={"told": told})
            finally:
                self._waiting.release()

        self._pool.submit(work)

    def close(self) -> None:
        """Finish what waits."""
        self._pool.shutdown()
        if self._kept is not None:
            self._kept.close()

    def _unheard(self, request: str, served: ServedModel, table: pd.DataFrame, asked: Asked) -> None:
        challenger = self._challengers.get(self._shadows[served.name])
        levels = {"quantiles": tuple(asked.levels)} if asked.levels and challenger.levels is not None else {}
        with np.errstate(all="ignore"):
            found = challenger.forecaster.predict(table, {"horizon": asked.horizon, **levels})
        self._kept.add(
            request, model=served.name, version=challenger.version, history=table, forecasts=found, role="shadow"
        )
