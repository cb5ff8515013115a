"""A version of a model as it is served: loaded, compiled, tried on a sample.

That takes seconds, in which Python answers nobody else: a process of its own does it, see `apart`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gridcast import evaluation, registry, tracking
from gridcast.anomaly.detector import Detector, whole
from gridcast.data import axis
from gridcast.data.preprocessing import Preprocessing
from gridcast.errors import DataError, GridcastError, TrackingError
from gridcast.forecaster import FORECAST, Forecaster
from gridcast.models.quantiles import Quantiles
from gridcast.routing import Route, Routes
from gridcast.serving import detectors
from gridcast.serving.rows import frame

NICE = 10
"""How far a process that loads steps back: who asks meanwhile is answered as soon as ever."""


@dataclass(frozen=True)
class Loaded:
    """A model that has answered a sample rightly, its networks compiled.

    `examples` are series that a forecast can be asked of, or the rows that a detector can, as they stand in a
    request.
    """

    model: Forecaster | Detector
    examples: tuple[dict[str, Any], ...]


Load = Callable[[Sequence[registry.Found], str | None], Sequence[Loaded]]
"""What loads versions from the store at an address. Raises TrackingError."""


def load(found: Sequence[registry.Found], uri: str | None) -> list[Loaded]:
    """These versions, in this process, which has Keras on JAX. Raises TrackingError."""
    return [_loaded(one, uri) for one in found]


def apart(cache: Path, found: Sequence[registry.Found], uri: str | None, *, nice: int = NICE) -> list[Loaded]:
    """The same by a process of its own, which is gone afterwards and steps back behind this one by `nice`.

    Compiled programs come and go through `cache`. Raises TrackingError.
    """
    from gridcast.models import compiled

    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(theirs, cache, found, uri, nice), daemon=True)
    process.start()
    theirs.close()
    try:
        told = ours.recv()
    except EOFError:
        raise TrackingError(f"{found[0].uri}: the process that loads it has died, maybe for want of memory") from None
    finally:
        ours.close()
        process.join()
    if isinstance(told, str):
        raise TrackingError(told)
    for one in told:
        compiled.warm(one.model)
    return list(told)


def _tell(pipe: Any, cache: Path, found: Sequence[registry.Found], uri: str | None, nice: int) -> None:
    from gridcast.training import backend

    with contextlib.suppress(OSError, AttributeError):  # not every system knows priorities
        os.nice(nice)
    backend.start("jax", cache)
    try:
        pipe.send(load(found, uri))
    except Exception as error:  # noqa: BLE001 - told to who waits
        pipe.send(str(error) if isinstance(error, GridcastError) else registry.first_line(error))


def _loaded(found: registry.Found, uri: str | None) -> Loaded:
    from gridcast.models import compiled

    carried = registry.load(found.uri, uri)
    if detector := detectors.adopted(carried.forecaster):
        detector = dataclasses.replace(detector, network=compiled.compiled(whole(detector.network)))
        examples = _kept(found, uri, detectors.example)
        detectors.check(detector, carried, examples)
        return Loaded(detector, examples)
    model = compiled.forecaster(adopted(carried.forecaster))
    examples = _kept(found, uri, lambda kept: tuple(json.loads(kept(evaluation.EXAMPLES))))
    check(model, carried, examples)
    return Loaded(model, examples)


def adopted(given: Any) -> Forecaster:
    """The forecaster `given`, which runs by the code that its model carries, run by the code of this gridcast."""
    quantiles = None if given.quantiles is None else Quantiles.from_json(given.quantiles.to_json())
    own, network = Preprocessing.from_json(given.preprocessing.to_json()), given.network
    if given.routes:
        routes = tuple(Route(**dataclasses.asdict(route)) for route in given.routes)
        network = Routes(routes, network.members, network.horizon)
    return Forecaster(own, network, quantiles, tuple(map(adopted, given.members)), given.weights)


def check(own: Forecaster, carried: registry.Loaded, examples: Sequence[Mapping[str, Any]]) -> None:
    """Let a model forecast a stored example, or where none is kept a history of usual values.

    Raises TrackingError where it does not forecast finite numbers, or others than the code it carries.
    """
    uri = carried.found.uri
    table = frame(own.preprocessing, examples[0]) if examples else usual(own.preprocessing)
    try:
        expected, found = (one.predict(table)[FORECAST].to_numpy() for one in (carried, own))
    except DataError as error:
        raise TrackingError(f"{uri}: cannot forecast its sample: {error}") from None
    if len(found) != own.preprocessing.horizon or not np.isfinite(found).all():
        raise TrackingError(f"{uri}: its forecast of a sample is no number for each step")
    if not np.allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()):
        raise TrackingError(
            f"{uri}: was made by a gridcast that forecasts otherwise; train it again, or serve it there"
        )


def usual(own: Preprocessing) -> pd.DataFrame:
    """A history of the first series that the model must be able to read, whatever data it was trained on."""
    steps = own.lookback + max(own.lags, default=0) + max(own.usual, default=0)
    end = pd.Timestamp(own.span[1]) if own.span else pd.Timestamp("2020-01-01")
    times = axis.following(end, steps + own.horizon, own.frequency, own.weekdays)
    scaled = np.tile(np.linspace(0.2, 0.8, 7), -(-steps // 7))[None, :steps]
    target = own.target_scaler.inverse(scaled, np.array([0]))[0]
    series = {"id": own.series[0], "history": [{"time": time} for time in times[:steps]]}
    table = frame(own, series | {"future": [{"time": time} for time in times[steps:]]})
    table[own.target] = np.concatenate([target, np.full(own.horizon, np.nan)])
    known = dict(zip(own.columns, own.fallback[0], strict=True)) if own.fallback else {}
    for name in (*own.past, *own.future_columns):
        table[name] = known[name]
    return table


def _kept(
    found: registry.Found, uri: str | None, read: Callable[[Callable[[str], bytes]], tuple[dict[str, Any], ...]]
) -> tuple[dict[str, Any], ...]:
    """The examples that `read` makes of the files kept with the test of the run, none where nothing was kept."""
    try:
        store, _ = tracking.sweep_of(found.run_id, uri)
        key = tracking.tags(store, found.run_id or "")[tracking.KEY]
        tested = tracking.finished(store, [key], "test")[key]
        return read(functools.partial(tracking.artifact, store, tested.info.run_id))
    except (GridcastError, KeyError, ValueError):
        return ()
