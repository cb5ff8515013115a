"""One network for each series, behind the door of one: who answers for which series.

This module travels inside every logged model, see forecaster.py.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

ROUTES_FILE = "routes.json"


@dataclass(frozen=True)
class Route:
    """Who answers for a series: the network kept in the file `network`, or a rule.

    `model` names it to people. It reads `lookback` steps. A rule repeats the last `period` steps (the
    seasonal naive; 1: the last value), or says the same `level`, in scaled units, whatever went before.
    """

    model: str
    lookback: int
    network: str | None = None
    period: int = 1
    level: float | None = None

    def rule(self, history: np.ndarray, horizon: int) -> np.ndarray:
        """Scaled forecasts (n, horizon) from the scaled target `history` (n, lookback)."""
        if self.level is not None:
            return np.full((len(history), horizon), self.level)
        return np.asarray(history[:, np.arange(horizon) % self.period - self.period], float)


@dataclass(frozen=True)
class RoutedNetwork:
    """Weights of one network, and the network that runs all weights of its shape."""

    network: Any
    weights: Sequence[np.ndarray]

    def predict_on_batch(self, read: Mapping[str, np.ndarray]) -> np.ndarray:
        """Scaled forecasts (n, horizon); of `read` it takes the inputs that it has."""
        self.network.set_weights(self.weights)
        return np.asarray(self.network.predict_on_batch({own.name: read[own.name] for own in self.network.inputs}))


@dataclass(frozen=True)
class Routes:
    """A Forecaster's network that is many: `routes` (series,) say who answers, `members` are the networks by file."""

    routes: tuple[Route, ...]
    members: Mapping[str, RoutedNetwork]
    horizon: int
    lock: Any = field(default_factory=threading.Lock, compare=False)

    def predict_on_batch(self, read: Mapping[str, np.ndarray]) -> np.ndarray:
        """Scaled forecasts (n, horizon) of the windows `read`, whose history is the longest that any route reads."""
        history = read["history"]
        series = read.get("series", np.zeros(len(history), np.int32))
        forecasts = np.empty((len(history), self.horizon))
        by_route: dict[Route, list[int]] = {}
        for code in np.unique(series):
            by_route.setdefault(self.routes[code], []).append(code)
        with self.lock:  # members of one shape share a network
            for route, codes in by_route.items():
                rows = np.flatnonzero(np.isin(series, codes))
                past = history[rows, -route.lookback :]
                if route.network is None:
                    forecasts[rows] = route.rule(past[:, :, 0], self.horizon)
                else:
                    own = {name: values[rows] for name, values in read.items()} | {"history": past}
                    forecasts[rows] = self.members[route.network].predict_on_batch(own)
        return forecasts


def parse_routes(content: str) -> tuple[Route, ...]:
    """The routes in the text of `routes.json`."""
    return tuple(Route(**one) for one in json.loads(content))


def model_files(routes: Sequence[Route], networks: Mapping[str, bytes]) -> dict[str, bytes]:
    """What `forecaster.load` reads: the routes, and each network under the name that they give it."""
    return {ROUTES_FILE: json.dumps([asdict(route) for route in routes]).encode(), **networks}
