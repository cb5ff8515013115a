"""The cost of a request: an estimate of its work, in milliseconds of one core of an ordinary machine.

It decides where the work is done and how much of its rate a client spends; nothing depends on its last digit.
"""

from __future__ import annotations

from gridcast.runtime.detector import Detector
from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.per_series import Routes
from gridcast.serving.http_errors import invalid_input
from gridcast.serving.rate_limits import RequestLimits

ROW = 0.01
"""Milliseconds to read a row of a request."""
VALUE = 0.002
"""Milliseconds to write a number of an answer."""
NETWORK_CALL = 0.3
WINDOW = 0.05
"""Milliseconds of a window in a network call."""
PATH_STEP = 0.005
"""Milliseconds of a step of a sample path, or of the history before it."""
BASELINE_SERIES = 5.0
"""Milliseconds to fit a baseline to a series."""
MAX_SMALL = 20.0
"""Milliseconds of a request that runs together with others; a larger one waits for its client's turn."""
MAX_ON_LOOP = 2.0
"""Milliseconds of what is done on the event loop."""
TOKEN = 10.0
"""Milliseconds for a token of a client: with the usual rate of 100 a second a key may use one core."""


def forecast_cost(forecaster: Forecaster, *, series: int, horizon: int, levels: int) -> float:
    """Return the milliseconds to forecast `horizon` steps of some series, each with some quantile `levels`."""
    return _network_cost(forecaster, series, horizon) + answer_cost(series * horizon * (1 + levels))


def _network_cost(forecaster: Forecaster, series: int, horizon: int) -> float:
    if forecaster.members:
        return sum(_network_cost(member, series, horizon) for member in forecaster.members)
    preprocessing = forecaster.preprocessing
    if forecaster.quantiles is not None and forecaster.quantiles.sampled and forecaster.baseline is None:
        return series * PATH_STEP * (preprocessing.lookback + horizon * forecaster.quantiles.paths)
    calls = -(-horizon // preprocessing.horizon)
    if forecaster.baseline is not None:
        return series * calls * BASELINE_SERIES
    networks = len(forecaster.network.members) if isinstance(forecaster.network, Routes) else 1
    baselines = sum(bool(route.baseline) for route in forecaster.routes)
    return calls * (networks * NETWORK_CALL + series * WINDOW + min(series, baselines) * BASELINE_SERIES)


def detection_cost(detector: Detector, *, steps: int) -> float:
    """Return the milliseconds to score `steps`."""
    networks = max(1, len(detector.members))
    return networks * (NETWORK_CALL + steps * WINDOW) + answer_cost(steps * (3 + len(detector.sensors)))


def answer_cost(values: int) -> float:
    """Return the milliseconds to write an answer with so many `values`."""
    return values * VALUE


def check_values(values: int, limits: RequestLimits, where: str) -> None:
    """Raise HttpError (422) for an answer with too many `values`."""
    if values > limits.values:
        text = f"the answer would have {values} numbers, at most {limits.values} are allowed; ask for fewer series, "
        raise invalid_input(f"{text}steps or quantiles at once", where, "limit_values")


def check_cost(milliseconds: float, limits: RequestLimits, where: str) -> None:
    """Raise HttpError (422) for a request that would take too long."""
    if milliseconds > limits.cost * TOKEN:
        text = (
            f"the request costs as much as {milliseconds / TOKEN:.0f} small ones, at most {limits.cost:g} are allowed"
        )
        raise invalid_input(f"{text}; ask for fewer series or steps at once", where, "limit_cost")
