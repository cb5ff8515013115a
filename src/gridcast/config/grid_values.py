"""The values of the axes of a grid, as they stand in an experiment file and as configurations hold them."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from gridcast.config.configuration import AXES, Configuration
from gridcast.config.error_messages import Shown, explain, shortened
from gridcast.config.layer_settings import check_layer, checked_own_value
from gridcast.config.plugins import Plugins
from gridcast.config.ranges import Range, read_range

MAX_VALUES = 5_000
"""Values that one axis of the grid may have."""


def item_place(grid: object, number: int, axis: str = "") -> str:
    """Return the place of an axis in the value of the key `grid`: a list of grids, or one."""
    place = f"grid[{number}]" if isinstance(grid, list) else "grid"
    return f"{place}.{axis}" if axis else place


def checked_values(where: str, axis: str, values: Any, plugins: Plugins) -> tuple[Any, ...] | Range:
    """Return the values of an axis, or its range. Raises ValueError."""
    if isinstance(values, dict):
        read = read_range(where, axis, values, plugins.axes.get(axis))
        for end in ("low", "high"):
            checked_setting(f"{where}.{end}", axis, values[end], plugins)
        return read
    return tuple(checked_setting(f"{where}[{position}]", axis, item, plugins) for position, item in enumerate(values))


def checked_setting(where: str, axis: str, value: object, plugins: Plugins) -> object:
    """Return the value of an axis in the form that configurations hold. Raises ValueError."""
    if axis not in AXES:
        return checked_own_value(where, axis, value, plugins)
    required = {} if axis == "lookback" else {"lookback": 1}
    try:
        checked = Configuration.model_validate({**required, axis: value})
    except ValidationError as error:
        raise ValueError(f"{where}: {explain(error.errors()[0], Configuration)}") from None
    if axis == "layer":
        check_layer(where, value, plugins)
    # Settings as they stand in the file, but for mappings, which are no value of an axis.
    return getattr(checked, axis) if isinstance(value, dict) else value


def check_axis_values(where: str, values: object) -> None:
    """Raise ValueError, with the remedy, for what is no list of values of an axis, or a list that is too long."""
    if not isinstance(values, list | dict) or not values:
        remedy = "give at least one" if values == [] else f"write [{shortened(str(values))}]"
        raise ValueError(f"{where}: expected a list of values, got {Shown(values)!r}; {remedy}")
    if len(values) > MAX_VALUES:
        raise ValueError(
            f"{where}: {len(values):,} values are more than one axis can have (at most "
            f"{MAX_VALUES:,}); give fewer, or search a range: {{low: 1, high: 100}} with search.strategy: "
            "random"
        )
