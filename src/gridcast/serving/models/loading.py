"""Load a model version for the service: adapt, compile and check it on a sample.

That takes seconds of Python, during which this process would answer nobody: see `load_in_subprocess`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gridcast.evaluation import artifact_files
from gridcast.runtime.detector import Detector
from gridcast.runtime.errors import GridcastError, TrackingError
from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.loading import kind_of
from gridcast.serving.models import detector_adapter, forecaster_adapter
from gridcast.serving.models.loader_environment import only_needed_variables
from gridcast.tracking import mlflow_runs
from gridcast.tracking.model_loading import ModelReference, load_model
from gridcast.tracking.store import find_sweep, first_line

NICENESS = 10
"""Added to the niceness of the process that loads, so that it does not slow down requests meanwhile."""


@dataclass(frozen=True)
class PreparedModel:
    """A model with compiled networks that has passed the check on a sample.

    `examples` are series for a forecaster, rows for a detector, in the form of a request.
    """

    model: Forecaster | Detector
    examples: tuple[dict[str, Any], ...]


ModelLoader = Callable[[Sequence[ModelReference], str | None], Sequence[PreparedModel]]
"""Returns the models with these references in the MLflow store at an address. Raises TrackingError."""
Examples = tuple[dict[str, Any], ...]
ArtifactReader = Callable[[str], bytes]


def load(references: Sequence[ModelReference], uri: str | None) -> list[PreparedModel]:
    """Return the models, loaded in this process, which must have Keras on JAX. Raises TrackingError."""
    return [_prepare(reference, uri) for reference in references]


def load_in_subprocess(
    cache: Path, references: Sequence[ModelReference], uri: str | None, *, niceness: int = NICENESS
) -> list[PreparedModel]:
    """Return the models, loaded by a process of lower priority that ends afterwards.

    It runs the code that the models carry, with an environment without secrets of the service.
    Compiled programs are exchanged through the folder `cache`. Raises TrackingError.
    """
    from gridcast.serving.models import compiled_network

    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    options = {"cache": cache, "references": references, "uri": uri, "niceness": niceness}
    process = context.Process(target=_load_and_send, args=(sender,), kwargs=options, daemon=True)
    with only_needed_variables():
        process.start()
    sender.close()
    try:
        result: list[PreparedModel] | str = receiver.recv()
    except EOFError:
        text = f"{references[0].uri}: the process that loads it died, possibly because memory ran out"
        raise TrackingError(text) from None
    finally:
        receiver.close()
        process.join()
    if isinstance(result, str):
        raise TrackingError(result)
    for prepared in result:
        compiled_network.warm_up(prepared.model)
    return result


def _load_and_send(
    sender: Any, *, cache: Path, references: Sequence[ModelReference], uri: str | None, niceness: int
) -> None:
    """Send the models, or the message of the error."""
    from gridcast.training import keras_backend

    with contextlib.suppress(OSError, AttributeError):  # not every system has priorities
        os.nice(niceness)
    keras_backend.start("jax", cache)
    try:
        sender.send(load(references, uri))
    except BrokenPipeError:
        return  # the process that waited was killed
    except Exception as error:  # noqa: BLE001 - raised by the process that waits
        sender.send(str(error) if isinstance(error, GridcastError) else first_line(error))


def _prepare(reference: ModelReference, uri: str | None) -> PreparedModel:
    from gridcast.serving.models import compiled_network

    carried = load_model(reference.uri, uri)
    if kind_of(carried.model) == "detector":
        detector = compiled_network.compile_detector(detector_adapter.adapt(carried.model))
        examples = _examples(reference, uri, detector_adapter.example_rows)
        detector_adapter.check(detector, carried, examples)
        return PreparedModel(detector, examples)
    forecaster = compiled_network.compile_forecaster(forecaster_adapter.adapt(carried.model))
    examples = _examples(reference, uri, _example_series)
    forecaster_adapter.check(forecaster, carried, examples)
    return PreparedModel(forecaster, examples)


def _example_series(read_artifact: ArtifactReader) -> Examples:
    return tuple(json.loads(read_artifact(artifact_files.EXAMPLES)))


def _examples(reference: ModelReference, uri: str | None, read: Callable[[ArtifactReader], Examples]) -> Examples:
    """The examples that `read` makes of the artifacts of the run's test; none if there are no such artifacts."""
    try:
        store, _ = find_sweep(reference.run_id, uri)
        run = mlflow_runs.find_run(store, reference.run_id or "")
        key = mlflow_runs.before_refit(store, run).data.tags[mlflow_runs.KEY_TAG] if run else ""
        test = mlflow_runs.tested_runs(store, [key])[key]
        return read(functools.partial(mlflow_runs.read_artifact, store, test.info.run_id))
    except (GridcastError, KeyError, ValueError):
        return ()
