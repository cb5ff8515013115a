"""The models of a service; each is replaced by its next version while requests go on."""

from __future__ import annotations

import dataclasses
import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
import pandas as pd

from gridcast.runtime import step_rule
from gridcast.runtime.detector import Detector
from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.serving import json_logging
from gridcast.serving.http_errors import HttpError
from gridcast.serving.models import detector_adapter, forecaster_adapter
from gridcast.serving.models.batching import Batcher
from gridcast.serving.models.loading import ModelLoader, PreparedModel
from gridcast.serving.models.served_model import ServedModel
from gridcast.serving.payloads.request_types import ForecastRequest
from gridcast.tracking.addresses import without_credentials
from gridcast.tracking.model_loading import ModelReference, find_model
from gridcast.tracking.store import first_line

LOG = logging.getLogger(json_logging.LOGGER_NAME)
MAX_LIGHT_WINDOWS = 4
"""Windows of a request that runs on the event loop instead of a thread."""


class ModelPool:
    """The champions, or the versions with another alias, of some registered models, by name.

    A thread checks every `poll_seconds` whether an alias has moved. It then loads the new version beside the old one
    and swaps them in one assignment; a request that has begun ends with the version that it began with. If the new
    version cannot be loaded, the old one remains, and `problems` holds the reason by the name of the model. `swaps`
    counts the exchanges.
    """

    def __init__(
        self,
        names: Sequence[str],
        load: ModelLoader,
        executor: Executor,
        *,
        uri: str | None = None,
        batch_seconds: float = 0.002,
        poll_seconds: float = 5.0,
    ) -> None:
        self.names, self.problems, self.swaps = tuple(names), dict[str, str](), 0
        self._load, self._executor, self._uri = load, executor, uri
        self._batch_seconds, self._poll_seconds = batch_seconds, poll_seconds
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="registry", daemon=True)
        references = [find_model(name, uri) for name in self.names]
        models = load(references, uri) if references else ()
        self._served: Mapping[str, ServedModel] = {
            name: self._serve(name, reference, prepared)
            for name, reference, prepared in zip(self.names, references, models, strict=True)
        }

    def start(self) -> None:
        """Start to watch the registry."""
        if self.names:
            self._thread.start()

    def close(self) -> None:
        """Stop watching; a version that is being loaded is discarded."""
        self._closed.set()

    def all(self) -> list[ServedModel]:
        """Return the models that are served at present."""
        return list(self._served.values())

    def get(self, name: str) -> ServedModel:
        """Return the model of this name. Raises HttpError (404)."""
        served = self._served.get(name)
        if served is None:
            text = f"no such model is served (served are: {', '.join(self.names)})"
            raise HttpError(404, "no_model", text, where="model")
        return served

    def refresh(self) -> None:
        """Look up the aliases once, and serve the versions that they name."""
        for name in self.names:
            try:
                self._refresh(name)
                self.problems.pop(name, None)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with the new version, the old one remains
                reason = without_credentials(first_line(error))
                if self.problems.get(name) != reason:
                    self.problems[name] = reason
                    LOG.warning("degraded", extra={"fields": {"model": name, "reason": reason}})

    def _refresh(self, name: str) -> None:
        served, reference = self._served[name], find_model(name, self._uri)
        if reference.version != served.version:
            [prepared] = self._load([reference], self._uri)
            new = self._serve(name, reference, prepared)
            self._served = {**self._served, name: new}
            self.swaps += 1
            LOG.info("swapped", extra={"fields": {"model": name, "old": served.version, "version": new.version}})
        elif reference != served.reference:  # its tags have changed
            self._served = {**self._served, name: dataclasses.replace(served, reference=reference)}

    def _poll(self) -> None:
        while not self._closed.wait(self._poll_seconds):
            self.refresh()

    def _serve(self, name: str, reference: ModelReference, prepared: PreparedModel) -> ServedModel:
        model = prepared.model
        run: Callable[[Sequence[Any]], Sequence[np.ndarray | Exception]]
        if isinstance(model, Detector):
            run = functools.partial(detector_adapter.batch_contributions, model)
        else:
            run = functools.partial(forecaster_adapter.batch_forecasts, model)
        is_light = functools.partial(_is_light, model)
        return ServedModel(
            name=name,
            model=model,
            reference=reference,
            examples=prepared.examples,
            loaded_at=time.time(),
            batcher=Batcher(run, self._executor, seconds=self._batch_seconds, is_light=is_light),
            step=_step(model.preprocessing),
        )


def _is_light(model: Forecaster | Detector, item: ForecastRequest | np.ndarray) -> bool:
    """Whether the model answers the item of its batcher in less than a millisecond."""
    if isinstance(model, Detector) or isinstance(item, np.ndarray):
        return False
    if (model.quantiles is not None and model.quantiles.sampled) or model.reads_history:
        return False
    return len(item.forecast_input.ids) * item.horizon <= MAX_LIGHT_WINDOWS * model.preprocessing.horizon


def _step(preprocessing: Preprocessing) -> np.timedelta64:
    first, second = step_rule.steps_after(pd.Timestamp("2001-01-01"), 2, preprocessing.steps)
    return (second - first).to_timedelta64()
