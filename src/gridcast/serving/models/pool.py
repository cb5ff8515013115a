"""The models that are served, each exchanged for the next version without anybody noticing."""

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

from gridcast.runtime import time_axis
from gridcast.runtime.detector import Detector
from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.serving.http_errors import HttpError
from gridcast.serving.models import detector_adapter, forecaster_adapter
from gridcast.serving.models.batching import Batcher
from gridcast.serving.models.loading import LoadedModel, ModelLoader
from gridcast.serving.models.served_model import ServedModel
from gridcast.serving.payloads.fast_path import Plain
from gridcast.tracking import model_loading, registry
from gridcast.tracking.addresses import without_credentials

LOG = logging.getLogger("gridcast.serving")
MAX_INLINE_WINDOWS = 4
"""Windows of a question that no thread is begun for."""


class ModelPool:
    """The champions of some registered models, by name.

    A thread looks every `poll` seconds whether an alias has moved. Then the new version is loaded
    beside the old one, answers a sample, and takes its place at once; a request that has begun ends
    with the version that it began with. Where that fails the old version stays, and `problems` says so.
    """

    def __init__(
        self,
        names: Sequence[str],
        pool: Executor,
        load: ModelLoader,
        *,
        uri: str | None = None,
        gather: float = 0.002,
        poll: float = 5.0,
    ) -> None:
        self.names, self.problems = tuple(names), dict[str, str]()
        self.swaps = 0
        self._pool, self._load, self._uri, self._gather, self._poll = pool, load, uri, gather, poll
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._run, name="registry", daemon=True)
        found = {name: model_loading.find_model(name, uri) for name in self.names}
        loaded = zip(found.items(), load(list(found.values()), uri) if found else (), strict=True)
        self._served: Mapping[str, ServedModel] = {name: self._made(name, own, made) for (name, own), made in loaded}

    def start(self) -> None:
        """Begin to watch the registry."""
        if self.names:
            self._watch.start()

    def close(self) -> None:
        """Watch no more; a version that is being loaded is forgotten."""
        self._ended.set()

    def all(self) -> list[ServedModel]:
        """What is served at present."""
        return list(self._served.values())

    def get(self, name: str) -> ServedModel:
        """The model of this name. Raises Refusal (404)."""
        found = self._served.get(name)
        if found is None:
            raise HttpError(404, "no_model", f"no such model is served (there are: {', '.join(self.names)})", "model")
        return found

    def look(self) -> None:
        """Ask the registry once, and serve what its aliases say."""
        for name in self.names:
            try:
                found = model_loading.find_model(name, self._uri)
                if found.version != self._served[name].version:
                    [loaded] = self._load([found], self._uri)
                    new = self._made(name, found, loaded)
                    old, self._served = self._served[name], {**self._served, name: new}
                    self.swaps += 1
                    LOG.info("swapped", extra={"told": {"model": name, "old": old.version, "version": new.version}})
                elif found != self._served[name].found:  # its tags were changed
                    self._served = {**self._served, name: dataclasses.replace(self._served[name], found=found)}
                self.problems.pop(name, None)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with the new one, the old one is served
                if self.problems.get(name) != (told := without_credentials(registry.first_line(error))):
                    self.problems[name] = told
                    LOG.warning("degraded", extra={"told": {"model": name, "reason": told}})

    def _run(self) -> None:
        while not self._ended.wait(self._poll):
            self.look()

    def _made(self, name: str, found: model_loading.ModelReference, loaded: LoadedModel) -> ServedModel:
        model = loaded.model
        answer: Callable[[Sequence[Any]], list[Any]] = (
            functools.partial(detector_adapter.batch_contributions, model)
            if isinstance(model, Detector)
            else functools.partial(forecaster_adapter.batch_forecasts, model)
        )
        together = Batcher(answer, self._pool, self._gather, functools.partial(_light, model))
        own = name, model, found, loaded.examples, time.time()
        return ServedModel(*own, together, Plain(model), _step(model.preprocessing))


def _light(model: Forecaster | Detector, asked: Any) -> bool:
    """Whether a question is answered in less than a millisecond."""
    if isinstance(model, Detector) or (model.quantiles is not None and model.quantiles.sampled):
        return False
    return len(asked.placed.ids) * asked.horizon <= MAX_INLINE_WINDOWS * model.preprocessing.horizon


def _step(own: Preprocessing) -> np.timedelta64:
    first, second = time_axis.steps_after(pd.Timestamp("2001-01-01"), 2, own.frequency)
    return (second - first).to_timedelta64()
