"""A model for each series, used as one network: routes say which of them answers for which series."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .baseline_model import BaselineModel

ROUTES_FILE = "routes.json"


@dataclass(frozen=True)
class Route:
    """The model that answers for a series: the network in the file `network`, or a rule if there is none.

    `model` is its name for people. It reads `lookback` steps. It may be the baseline in the file `baseline`. A rule
    forecasts `level`, in scaled units, or, if that is
    None, repeats the last `period` steps (the seasonal naive forecast; 1: the last value).
    """

    model: str
    lookback: int
    network: str | None = None
    period: int = 1
    level: float | None = None
    baseline: str | None = None

    def rule(self, history: np.ndarray, horizon: int) -> np.ndarray:
        """Return forecasts (n, horizon) of the rule from the target `history` (n, lookback), both in scaled units."""
        if self.level is not None:
            return np.full((len(history), horizon), self.level)
        return np.asarray(history[:, np.arange(horizon) % self.period - self.period], float)


@dataclass(frozen=True)
class RoutedNetwork:
    """The weights of one network, and a Keras network of its architecture that all such weights share."""

    network: Any
    weights: Sequence[np.ndarray]

    def predict_on_batch(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return scaled forecasts (n, horizon); `inputs` may hold more than the network has."""
        self.network.set_weights(self.weights)
        own_inputs = {layer.name: inputs[layer.name] for layer in self.network.inputs}
        return np.asarray(self.network.predict_on_batch(own_inputs))


@dataclass(frozen=True)
class Routes:
    """The network of a Forecaster whose series have models of their own.

    `routes` (series,) names the model of each series, `members` are the networks by file name, `baselines` likewise.
    """

    routes: tuple[Route, ...]
    members: Mapping[str, RoutedNetwork]
    horizon: int
    lock: Any = field(default_factory=threading.Lock, compare=False)
    baselines: Mapping[str, BaselineModel] = field(default_factory=dict)

    def predict_on_batch(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return scaled forecasts (n, horizon) of windows; their `history` is as long as the longest lookback.

        They are NaN for series that have a baseline, which reads more than windows.
        """
        history = inputs["history"]
        series = inputs.get("series", np.zeros(len(history), np.int32))
        forecasts = np.empty((len(history), self.horizon))
        codes_by_route: dict[Route, list[int]] = {}
        for code in np.unique(series):
            codes_by_route.setdefault(self.routes[code], []).append(code)
        # Members of one architecture share a Keras network: no other thread may set its weights meanwhile.
        with self.lock:
            for route, codes in codes_by_route.items():
                rows = np.flatnonzero(np.isin(series, codes))
                past = history[rows, -route.lookback :]
                if route.baseline is not None:
                    forecasts[rows] = np.nan
                elif route.network is None:
                    forecasts[rows] = route.rule(past[:, :, 0], self.horizon)
                else:
                    part = {name: values[rows] for name, values in inputs.items()} | {"history": past}
                    forecasts[rows] = self.members[route.network].predict_on_batch(part)
        return forecasts


def parse_routes(text: str) -> tuple[Route, ...]:
    """Return the routes in the text of routes.json."""
    return tuple(Route(**fields) for fields in json.loads(text))


def model_files(routes: Sequence[Route], models: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files that `loading.load` reads: routes.json, and the `models` by the file names in the routes."""
    return {ROUTES_FILE: json.dumps([asdict(route) for route in routes]).encode(), **models}
