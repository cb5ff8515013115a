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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gridcast.evaluation import forecast_results
from gridcast.runtime.detector import Detector, with_latent_output
from gridcast.runtime.errors import GridcastError, TrackingError
from gridcast.runtime.forecaster import Forecaster
from gridcast.serving.models import detector_adapter, forecaster_adapter
from gridcast.tracking import mlflow_runs, model_loading, registry
from gridcast.tracking.store import find_sweep

NICENESS = 10
"""How far a process that loads steps back: who asks meanwhile is answered as soon as ever."""


@dataclass(frozen=True)
class LoadedModel:
    """A model that has answered a sample rightly, its networks compiled.

    `examples` are series that a forecast can be asked of, or the rows that a detector can, as they stand in a
    request.
    """

    model: Forecaster | Detector
    examples: tuple[dict[str, Any], ...]


ModelLoader = Callable[[Sequence[model_loading.ModelReference], str | None], Sequence[LoadedModel]]
"""What loads versions from the store at an address. Raises TrackingError."""


def load(found: Sequence[model_loading.ModelReference], uri: str | None) -> list[LoadedModel]:
    """These versions, in this process, which has Keras on JAX. Raises TrackingError."""
    return [_loaded(one, uri) for one in found]


def load_in_subprocess(
    cache: Path, found: Sequence[model_loading.ModelReference], uri: str | None, *, nice: int = NICENESS
) -> list[LoadedModel]:
    """The same by a process of its own, which is gone afterwards and steps back behind this one by `nice`.

    Compiled programs come and go through `cache`. Raises TrackingError.
    """
    from gridcast.serving.models import compiled_network

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
        compiled_network.warm_up(one.model)
    return list(told)


def _tell(pipe: Any, cache: Path, found: Sequence[model_loading.ModelReference], uri: str | None, nice: int) -> None:
    from gridcast.training import keras_backend

    with contextlib.suppress(OSError, AttributeError):  # not every system knows priorities
        os.nice(nice)
    keras_backend.start("jax", cache)
    try:
        pipe.send(load(found, uri))
    except Exception as error:  # noqa: BLE001 - told to who waits
        pipe.send(str(error) if isinstance(error, GridcastError) else registry.first_line(error))


def _loaded(found: model_loading.ModelReference, uri: str | None) -> LoadedModel:
    from gridcast.serving.models import compiled_network

    carried = model_loading.load_model(found.uri, uri)
    if detector := detector_adapter.adapt(carried.forecaster):
        detector = _compiled(detector)
        examples = _kept(found, uri, detector_adapter.example_rows)
        detector_adapter.check(detector, carried, examples)
        return LoadedModel(detector, examples)
    model = compiled_network.compile_forecaster(forecaster_adapter.adapt(carried.forecaster))
    examples = _kept(found, uri, lambda kept: tuple(json.loads(kept(forecast_results.EXAMPLES))))
    forecaster_adapter.check(model, carried, examples)
    return LoadedModel(model, examples)


def _compiled(detector: Detector) -> Detector:
    """The same with every network compiled, those of its members."""
    from gridcast.serving.models import compiled_network

    if detector.members:
        return dataclasses.replace(detector, members=tuple(map(_compiled, detector.members)))
    return dataclasses.replace(detector, network=compiled_network.compile_network(with_latent_output(detector.network)))


def _kept(
    found: model_loading.ModelReference,
    uri: str | None,
    read: Callable[[Callable[[str], bytes]], tuple[dict[str, Any], ...]],
) -> tuple[dict[str, Any], ...]:
    """The examples that `read` makes of the files kept with the test of the run, none where nothing was kept."""
    try:
        store, _ = find_sweep(found.run_id, uri)
        key = mlflow_runs.run_tags(store, found.run_id or "")[mlflow_runs.KEY_TAG]
        tested = mlflow_runs.finished_runs(store, [key], "test")[key]
        return read(functools.partial(mlflow_runs.read_artifact, store, tested.info.run_id))
    except (GridcastError, KeyError, ValueError):
        return ()
