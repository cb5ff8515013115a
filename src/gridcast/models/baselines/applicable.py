"""The baselines that suit the data, and the properties of the data that their results depend on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gridcast.models.baselines import BASELINES, NAIVE_BASELINES, SEASONAL_BASELINES, VERSIONS
from gridcast.models.baselines.detectors import DETECTOR_BASELINES
from gridcast.runtime.baselines.intermittent import MIN_ZERO_SHARE
from gridcast.runtime.errors import ConfigError, suggest

AUTO = "auto"
"""Stands for all baselines that suit the data and take less time than the networks."""
SLOW_BASELINES = ("AutoARIMA", "Prophet")
"""They take seconds for each series, so they run only if the experiment file names them."""
MAX_SERIES_FITTED = 2000
"""With more series than this, baselines that fit each series run only if named: they would take longer than the
networks.
"""


def applicable_baselines(
    series: int,
    period: int | None,
    *,
    zero_share: float = 0.0,
    requested: Sequence[str] = (AUTO,),
    plugins: Sequence[str] = (),
) -> list[str]:
    """Names of the baselines to run, in the order of `BASELINES`, for a number of `series` with this `period`.

    `zero_share` is the share of zeros in the training span, `requested` holds the names in the experiment file; those
    of `NAIVE_BASELINES` always run, since the promotion gates need them. `plugins` are further names, which run if
    requested. Raises ConfigError on an unknown name.
    """
    _check_names(requested, (*BASELINES, *plugins))
    unsuitable = set(SLOW_BASELINES)
    if series > MAX_SERIES_FITTED:
        unsuitable |= {"ETS", "Theta"}
    if zero_share <= MIN_ZERO_SHARE:
        unsuitable |= {"Croston", "TSB"}
    chosen = {*NAIVE_BASELINES, *requested, *(BASELINES.keys() - unsuitable if AUTO in requested else ())}
    suitable = [name for name in BASELINES if name in chosen and (period or name != "seasonal naive")]
    return suitable + [name for name in plugins if name in requested and name not in (AUTO, *BASELINES)]


def applicable_detectors(requested: Sequence[str]) -> list[str]:
    """Names of the baselines for detectors to run, in the order of `DETECTOR_BASELINES`.

    Raises ConfigError on an unknown name.
    """
    _check_names(requested, DETECTOR_BASELINES)
    return [name for name in DETECTOR_BASELINES if AUTO in requested or name in requested]


def _check_names(requested: Sequence[str], registered: Iterable[str]) -> None:
    allowed = (AUTO, *registered)
    for position, name in enumerate(requested):
        if name not in allowed:
            raise ConfigError(
                f"baselines[{position}]: unknown name {name!r}{suggest(name, allowed)} (allowed: {', '.join(allowed)})"
            )


def record_key_suffix(name: str, *, period: int | None, levels: Sequence[float]) -> str:
    """Return the part of the key of a baseline's record that distinguishes results on the same windows.

    They depend on the `period`, on the quantile `levels`, and on the version of the baseline.
    """
    suffix = f"/{period}" if name in SEASONAL_BASELINES else ""
    suffix += f"/v{VERSIONS[name]}" if name in VERSIONS else ""
    return suffix + "".join(f"/q{level:g}" for level in levels)
