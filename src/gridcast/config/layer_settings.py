"""The settings that some values of `layer` have and others do not."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from gridcast.config.configuration import AXES, BUILT_IN_LAYERS, DIRECT_LAYERS, RECURRENT_LAYERS
from gridcast.config.plugin_function import checked_axis_value
from gridcast.config.plugins import Plugins
from gridcast.runtime.errors import suggest

DEFAULT_LAYER = "LSTM"


def settings_of_layer(values: Mapping[str, Any], plugins: Plugins) -> dict[str, Any]:
    """Return the settings `values` of a configuration without those that its layer does not have.

    Of a plug-in the settings of its own that are left out get their defaults.
    """
    layer = values.get("layer", DEFAULT_LAYER)
    if plugins.is_lenient and layer not in plugins.networks:
        return dict(values)
    own = plugins.of_layer(layer)
    kept = {name: value for name, value in values.items() if name in AXES or name in own}
    return own | kept | fixed_settings(layer)


def fixed_settings(layer: str) -> dict[str, Any]:
    """Return the axes of the grid that the network `layer` does not have, each with its only value."""
    if layer in RECURRENT_LAYERS:
        return {}
    return {"bidirectional": False, "attention": False} | ({"layers": 1} if layer == "linear" else {})


def check_layer(where: str, layer: object, plugins: Plugins) -> None:
    """Raise ValueError for the name of a network that is neither gridcast's own nor a plug-in."""
    allowed = (*BUILT_IN_LAYERS, *plugins.networks)
    if isinstance(layer, str) and layer not in allowed and not plugins.is_lenient:
        names = ", ".join(map(repr, allowed))
        raise ValueError(
            f"{where}: {layer!r} is not allowed{suggest(layer, allowed)} (allowed: {names}, and networks of your own: "
            "--plugin FILE)"
        )


def check_axis(where: str, axis: object, plugins: Plugins) -> None:
    """Raise ValueError for an axis that neither every network nor a plug-in has."""
    allowed = (*AXES, *plugins.axes)
    if axis not in allowed and not plugins.is_lenient:
        raise ValueError(f"{where}: unknown key{suggest(str(axis), allowed)} (allowed: {', '.join(allowed)})")


def checked_own_value(where: str, axis: str, value: object, plugins: Plugins) -> object:
    """Return `value` of an axis that plug-ins declare, of the type of its default in each. Raises ValueError."""
    for network in plugins.networks.values():
        if axis in dict(network.axes):
            value = checked_axis_value(where, dict(network.axes)[axis], value)
    if isinstance(value, list | dict):
        raise ValueError(f"{where}: must be one number, true or false, or text (got {value!r})")
    return value


def check_layer_axes(grids: Sequence[Mapping[str, Any]], baseline: Mapping[str, Any], plugins: Plugins) -> None:
    """Raise ValueError for an axis of a grid, or a setting of `baseline`, that no layer trained with it has."""
    if plugins.is_lenient:
        return
    default = baseline.get("layer", DEFAULT_LAYER)
    everywhere = {default, *(layer for grid in grids for layer in grid.get("layer", ()))}
    for axis in baseline:
        _check_used(f"baseline.{axis}", axis, everywhere, plugins)
    for number, grid in enumerate(grids):
        where = f"grid[{number}]" if len(grids) > 1 else "grid"
        layers = set(grid.get("layer", (default,)))
        for axis in grid:
            _check_used(f"{where}.{axis}", axis, layers, plugins)


def check_direct_layers(task: str, layers: Collection[Any], likelihoods: Collection[Any]) -> None:
    """Raise ValueError where one of the `layers` forecasts all steps at once, which does not serve the task.

    Networks that are plug-ins are checked when they are built.
    """
    direct = next((layer for layer in DIRECT_LAYERS if layer in layers), None)
    if direct is None:
        return
    if task == "anomaly":
        raise ValueError(
            f"layer: {direct} is not supported with task: anomaly (it makes forecasts, and encodes no window); write "
            "GRU or LSTM"
        )
    sampled = next((likelihood for likelihood in likelihoods if likelihood not in (None, "quantile")), None)
    if sampled is not None:
        raise ValueError(
            f"likelihood: {sampled} is not supported with layer: {direct} (sample paths are drawn step by step, which "
            "only recurrent networks can); write likelihood: quantile, or give the layer a grid of its own"
        )


def _check_used(where: str, axis: str, layers: set[str], plugins: Plugins) -> None:
    owners = [name for name, network in plugins.networks.items() if axis in dict(network.axes)]
    owners = owners or [name for name in (*BUILT_IN_LAYERS, *plugins.networks) if axis not in fixed_settings(name)]
    if not layers & set(owners):
        raise ValueError(
            f"{where}: belongs to layer {' or '.join(owners)}, and only {' and '.join(sorted(layers))} is trained with "
            f"it; remove it, or add {owners[0]} to layer"
        )
