"""Load a forecaster or a detector from the files of a model: the one entry point of every logged model."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import detector, per_series
from .detector import DETECTOR_KEY, Detector
from .forecaster import MEMBERS_FILE, NETWORK_FILE, SETTINGS_FILE, Forecaster
from .per_series import ROUTES_FILE, RoutedNetwork, Routes
from .preprocessing import Preprocessing
from .quantiles import Quantiles


def load(folder: Path | str) -> Forecaster | Detector:
    """Return the model kept in `folder`: `forecaster.json` with `model.keras`, `routes.json` or `members.json`."""
    folder = Path(folder)
    if (folder / ROUTES_FILE).exists():
        model = _read(folder, SETTINGS_FILE)
        return replace(model, network=_routes(folder, model.preprocessing.horizon))
    if (folder / MEMBERS_FILE).exists():
        content = json.loads((folder / MEMBERS_FILE).read_text(encoding="utf-8"))
        members = tuple(_read(folder, *names) for names in content["members"])
        weights = content.get("weights")
        return replace(
            _read(folder, SETTINGS_FILE), members=members, **({"weights": tuple(weights)} if weights else {})
        )
    return _read(folder, SETTINGS_FILE, NETWORK_FILE)


def load_from_bytes(files: Mapping[str, bytes]) -> Any:
    """Return the model made of `files`, their contents by name, as a training result carries them."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        return load(folder)


def _load_pyfunc(path: str) -> Forecaster | Detector:
    """Entry point of `mlflow.pyfunc.load_model`, which calls it by this name."""
    return load(path)


def _read(folder: Path, settings_file: str, network_file: str | None = None) -> Any:
    """Return the model of one settings file, with its network where it has one of its own."""
    import keras

    content = json.loads((folder / settings_file).read_text(encoding="utf-8"))
    network = keras.saving.load_model(folder / network_file, compile=False) if network_file else None
    if DETECTOR_KEY in content:
        return detector.from_json(content, network)
    quantiles = Quantiles.from_json(content["quantiles"]) if "quantiles" in content else None
    return Forecaster(Preprocessing.from_json(content), network, quantiles)


def _routes(folder: Path, horizon: int) -> Routes:
    """Return the networks of `folder`. One network is built for each architecture; the others bring their weights."""
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
    return Routes(routes, members, horizon)
