"""Load a forecaster or a detector from the files of a model: the one entry point of every logged model."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Literal

from . import detector, fitted_arrays, per_series
from .baseline_model import BaselineModel
from .detector import DETECTOR_KEY, Detector
from .forecaster import Forecaster
from .model_files import BASELINE_FILE, MEMBERS_FILE, NETWORK_FILE, SETTINGS_FILE
from .per_series import ROUTES_FILE, RoutedNetwork, Routes
from .plugin_code import carried_layers
from .preprocessing import Preprocessing
from .quantiles import Quantiles


def choose_keras_backend() -> None:
    """Make Keras run on JAX if nothing else is set and TensorFlow, its own default, is not installed.

    It does nothing if Keras is imported already, or if KERAS_BACKEND or Keras's settings file name another backend.
    """
    if "keras" in sys.modules or os.environ.get("KERAS_BACKEND") or PathFinder.find_spec("tensorflow") is not None:
        return
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # RuntimeError: there is no home
        settings = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras", "keras.json")
        # Keras writes this file with its default; another backend stands there by choice.
        if json.loads(settings.read_text(encoding="utf-8")).get("backend", "tensorflow") != "tensorflow":
            return
    os.environ["KERAS_BACKEND"] = "jax"


def load(folder: Path | str) -> Forecaster | Detector:
    """Return the model in `folder`: forecaster.json with model.keras, baseline.npz, routes.json or members.json.

    The code of layers that its networks have from plug-ins lies there too, and is run.
    """
    choose_keras_backend()
    folder = Path(folder)
    with carried_layers(folder):
        return _load(folder)


def _load(folder: Path) -> Forecaster | Detector:
    if (folder / ROUTES_FILE).exists():
        model = _read(folder, SETTINGS_FILE)
        return replace(model, network=_read_routes(folder, model.preprocessing.horizon))
    if (folder / MEMBERS_FILE).exists():
        content = json.loads((folder / MEMBERS_FILE).read_text(encoding="utf-8"))
        members = tuple(_read(folder, settings, network) for settings, network in content["members"])
        model, weights = _read(folder, SETTINGS_FILE), content.get("weights")
        if isinstance(model, Detector) or weights is None:  # detectors are combined by their scores, without weights
            return replace(model, members=members)
        return replace(model, members=members, weights=tuple(weights))
    return _read(folder, SETTINGS_FILE, NETWORK_FILE if (folder / NETWORK_FILE).exists() else BASELINE_FILE)


def load_from_bytes(files: Mapping[str, bytes]) -> Any:
    """Return the model in `files`, their contents by name, as a training result carries them."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        return load(folder)


def kind_of(model: Any) -> Literal["detector", "forecaster"]:
    """Return what a loaded `model` is; it may be an object of the code that it carries, with classes of its own."""
    return "detector" if hasattr(model, "threshold") else "forecaster"


def _load_pyfunc(path: str) -> Forecaster | Detector:
    """Entry point of `mlflow.pyfunc.load_model`, which calls it by this name."""
    return load(path)


def _read(folder: Path, settings_file: str, network_file: str | None = None) -> Any:
    """The model of one settings file, with the network, or baseline, of `network_file` if it has one of its own."""
    content = json.loads((folder / settings_file).read_text(encoding="utf-8"))
    network = _read_network(folder / network_file, is_detector=DETECTOR_KEY in content) if network_file else None
    if DETECTOR_KEY in content:
        return detector.from_json(content, network)
    quantiles = Quantiles.from_json(content["quantiles"]) if "quantiles" in content else None
    return Forecaster(Preprocessing.from_json(content), network, quantiles)


def _read_network(path: Path, *, is_detector: bool) -> Any:
    """The Keras network of a file, the baseline that forecasts in its place, or the arrays of a simple detector."""
    if path.suffix == Path(BASELINE_FILE).suffix:
        content = path.read_bytes()
        return fitted_arrays.from_bytes(content) if is_detector else BaselineModel.from_bytes(content)
    import keras

    return keras.saving.load_model(path, compile=False)


def _read_routes(folder: Path, horizon: int) -> Routes:
    """The networks of `folder`. One Keras network is built for each architecture; the others bring their weights."""
    import keras

    routes = per_series.parse_routes((folder / ROUTES_FILE).read_text(encoding="utf-8"))
    networks: dict[bytes, Any] = {}
    members = {}
    for name in dict.fromkeys(route.network for route in routes if route.network is not None):
        with zipfile.ZipFile(folder / name) as archive:
            architecture = archive.read("config.json")
        if architecture in networks:
            networks[architecture].load_weights(folder / name)
        else:
            networks[architecture] = keras.saving.load_model(folder / name, compile=False)
        members[name] = RoutedNetwork(networks[architecture], networks[architecture].get_weights())
    names = dict.fromkeys(route.baseline for route in routes if route.baseline is not None)
    baselines = {name: BaselineModel.from_bytes((folder / name).read_bytes()) for name in names}
    return Routes(routes, members, horizon, baselines=baselines)
