"""Honest baselines: forecasts in data units for the windows of a task, no network.

Nothing is fitted beyond the training span (but for Prophet, see there), and no forecast reads at or after
its origin. What is fitted takes observed values alone, since an interpolated one may tell of the span after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gridcast.data.series_statistics import find_period
from gridcast.models.baselines import smoothing
from gridcast.models.baselines.arima import auto_arima
from gridcast.models.baselines.intermittent import SHARE, croston, tsb
from gridcast.models.baselines.naive import last_value, seasonal_naive, training_mean, training_median
from gridcast.models.baselines.prophet import prophet
from gridcast.models.baselines.regression import ridge, trees
from gridcast.models.baselines.smoothing import ets, theta
from gridcast.models.baselines.task import Forecast, Task
from gridcast.runtime.errors import ConfigError, suggest

__all__ = ["AUTO", "BASELINES", "NAIVE", "SEASONAL", "Forecast", "Task", "find_period", "possible", "terms"]

BASELINES: dict[str, Callable[[Task], Forecast]] = {
    "last value": last_value,
    "seasonal naive": seasonal_naive,
    "training mean": training_mean,
    "training median": training_median,
    "ETS": ets,
    "ridge": ridge,
    "Theta": theta,
    "trees": trees,
    "Croston": croston,
    "TSB": tsb,
    "AutoARIMA": auto_arima,
    "Prophet": prophet,
}
SEASONAL = ("seasonal naive", "ETS", "Theta", "AutoARIMA")
"""Baselines that use the period."""
NAIVE = ("last value", "seasonal naive", "training mean", "training median")
"""Baselines that know nothing: a model that loses to one of them is not worth its keep."""
AUTO = "auto"
"""Stands for all baselines that suit the data and are done before the networks are."""
SLOW = ("AutoARIMA", "Prophet")
"""Seconds for each series: done only where they are asked for."""
MANY = 2000
"""Above so many series one fit of each is left out, unless it is asked for: it would outlast the networks."""


def possible(series: int, period: int | None, zeros: float = 0.0, asked: Sequence[str] = (AUTO,)) -> list[str]:
    """Names of the baselines to be done, in their order, for so many series with this period.

    `zeros` is the share of zeros over the training span, `asked` the names that the experiment file has;
    those of `NAIVE` are done in any case, since promotion looks at them. Raises ConfigError on an
    unknown name.
    """
    known = (AUTO, *BASELINES)
    for place, name in enumerate(asked):
        if name not in known:
            allowed = ", ".join(known)
            raise ConfigError(f"baselines[{place}]: unknown name {name!r}{suggest(name, known)} (allowed: {allowed})")
    without = set(SLOW)
    if series > MANY:
        without |= {"ETS", "Theta"}
    if zeros <= SHARE:
        without |= {"Croston", "TSB"}
    chosen = {*NAIVE, *asked, *(BASELINES.keys() - without if AUTO in asked else ())}
    return [name for name in BASELINES if name in chosen and (period or name != "seasonal naive")]


def terms(name: str, series: int, steps: int, period: int | None, levels: Sequence[float]) -> str:
    """What of the data and the task decides the result of a baseline besides its windows: part of its record's key."""
    found = f"/{period}" if name in SEASONAL else ""
    if name == "ETS" and smoothing.large(series, steps, period):
        found += "/guessed"
    return found + "".join(f"/q{level:g}" for level in levels)
