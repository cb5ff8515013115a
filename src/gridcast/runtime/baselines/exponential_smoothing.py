"""Exponential smoothing with additive errors: the forms, their fit to one series, and forecasts from any origin.

Pure. Source: Hyndman, Koehler, Ord, Snyder (2008), "Forecasting with Exponential Smoothing". Departures: all errors of
a form are one linear filter of the series less its starting state, so that no state-space matrices are needed, and the
starting state of given smoothing constants is found by least squares. Memory is steps times states.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

TRENDS = ("none", "linear", "damped")
LETTERS = {"none": "N", "linear": "A", "damped": "Ad"}
BOUNDS = {"level": (1e-4, 0.9999), "trend": (1e-4, 0.9999), "season": (1e-4, 0.9999), "damping": (0.8, 0.98)}
"""Smoothing constants, that of the trend as a share of the level's, that of the season as a share of the rest."""
STARTS = {"level": (0.05, 0.3, 0.8), "trend": (0.02, 0.3), "season": (0.05, 0.5), "damping": (0.85, 0.97)}
"""Constants that the search of a fit is started from: the best of all combinations."""
EVALUATIONS_PER_CONSTANT = 50
"""Evaluations of the search for each constant of a form: they bound its time, and are seldom all needed."""
MIN_RELATIVE_ERROR = 1e-14
"""Sum of squared errors, relative to that of the values, below which a fit counts as exact."""
MAX_ROOT = 1 - 1e-6
"""Size of a root of the filter from which on it would magnify old errors (such constants are not admissible)."""


class Form(NamedTuple):
    """The components of a model beside its level.

    `trend` is one of TRENDS; `period` that of the smoothed season, 1 for none; `waves` are frequencies, in cycles per
    step, of waves that stay as they are, the strongest ones among `waves_searched`.
    """

    trend: str = "none"
    period: int = 1
    waves: tuple[float, ...] = ()
    waves_searched: int = 1

    @property
    def name(self) -> str:
        """The usual name, such as ETS(A,Ad,N), with the number of waves."""
        waves = f" with {len(self.waves)} waves" if self.waves else ""
        return f"ETS(A,{LETTERS[self.trend]},{'A' if self.period > 1 else 'N'}){waves}"

    @property
    def constants(self) -> tuple[str, ...]:
        """Names of the constants that are fitted, keys of BOUNDS."""
        return (
            "level",
            *(("trend",) if self.trend != "none" else ()),
            *(("damping",) if self.trend == "damped" else ()),
            *(("season",) if self.period > 1 else ()),
        )

    @property
    def states(self) -> int:
        """Length of the starting state: level, slope, all seasons but the last, two numbers for each wave."""
        return 1 + (self.trend != "none") + self.period - 1 + 2 * len(self.waves)


class Smoothing(NamedTuple):
    """Smoothing constants: each error moves level, slope and season by its `level`, `slope` and `season` share."""

    level: float
    slope: float
    season: float
    damping: float


@dataclass(frozen=True)
class FittedSmoothing:
    """A form fitted to a series: its constants, its starting state (states,), the variance of its errors, its AICc."""

    form: Form
    smoothing: Smoothing
    start: np.ndarray
    variance: float
    aicc: float

    def forecast(self, values: np.ndarray, origins: np.ndarray, horizon: int) -> np.ndarray:
        """Return forecasts (n, horizon) from the state before each of `origins` (n,), positions in `values` (steps,).

        `values` begin at the step that the fit began at; those from an origin on are not read for it.
        """
        from scipy.signal import lfilter

        form, (level_share, slope_share, season_share, damping) = self.form, self.smoothing
        steps, seasons = len(values), form.period
        fixed = _design(form, damping, steps + horizon) @ self.start
        errors = _filtered(form, self.smoothing, values - fixed[:steps])
        # What the errors add to the states after each step; before the first one it is nothing.
        slope = np.concatenate([[0.0], lfilter([slope_share], [1.0, -damping], errors)])
        level = np.concatenate([[0.0], np.cumsum(damping * slope[:-1] + level_share * errors)])
        season = np.zeros(steps + seasons)
        if seasons > 1:
            season[seasons:] = lfilter([season_share], [1.0, *[0.0] * (seasons - 1), -1.0], errors)
        ahead = np.arange(horizon)
        # The errors before the origin have moved the season of a step one or more periods earlier: the last of these.
        last = origins[:, None] + ahead % seasons if seasons > 1 else np.zeros((1, 1), int)
        moved = level[origins, None] + slope[origins, None] * np.cumsum(damping ** (1 + ahead)) + season[last]
        return fixed[origins[:, None] + ahead] + moved

    def deviations(self, horizon: int) -> np.ndarray:
        """Return the standard deviation (horizon,) of the error of each step ahead."""
        level, slope, season, damping = self.smoothing
        steps = np.arange(1, horizon)
        response = level + slope * np.cumsum(damping**steps)
        if self.form.period > 1:
            response = response + season * (steps % self.form.period == 0)
        return np.sqrt(self.variance * np.cumsum([1.0, *response**2]))


def best_fit(values: np.ndarray, forms: Sequence[Form]) -> FittedSmoothing:
    """Return the fit of the form with the lowest AICc among `forms` to `values` (steps,), without gaps.

    Raises ValueError where the series is too short for each of them.
    """
    possible = [form for form in forms if _parameters(form) + 1 < len(values)]
    if not possible:
        raise ValueError(f"{len(values)} steps are too few")
    return min((fit(values, form) for form in possible), key=lambda fitted: fitted.aicc)


def fit(values: np.ndarray, form: Form) -> FittedSmoothing:
    """Return the fit of `form` to `values` (steps,) by maximum likelihood."""
    from scipy.optimize import minimize

    steps, names = len(values), form.constants
    floor = max(MIN_RELATIVE_ERROR * float(np.sum(values**2)), np.finfo(float).tiny)

    def loss(constants: Sequence[float] | np.ndarray) -> float:
        return float(np.log(max(_squared_error(values, form, _smoothing(form, constants)), floor)))

    start = min(itertools.product(*(STARTS[name] for name in names)), key=loss)
    found = minimize(
        loss,
        start,
        method="Nelder-Mead",
        bounds=[BOUNDS[name] for name in names],
        options={"maxfev": EVALUATIONS_PER_CONSTANT * len(names), "xatol": 1e-3, "fatol": 1e-5},
    )
    smoothing, count = _smoothing(form, found.x), _parameters(form)
    design = _design(form, smoothing.damping, steps)
    state = np.linalg.lstsq(_filtered(form, smoothing, design), _filtered(form, smoothing, values), rcond=None)[0]
    aicc = steps * (found.fun - np.log(steps)) + 2 * count + 2 * count * (count + 1) / (steps - count - 1)
    # The strongest of many waves fits by chance too (Foster and George 1994, "The Risk Inflation Criterion").
    aicc += 2 * len(form.waves) * np.log(form.waves_searched)
    return FittedSmoothing(form, smoothing, state, np.exp(found.fun) / (steps - count + 1), float(aicc))


def _parameters(form: Form) -> int:
    """Number of parameters of a fit, with the variance."""
    return len(form.constants) + form.states + 1


def _smoothing(form: Form, constants: Sequence[float] | np.ndarray) -> Smoothing:
    """The smoothing constants that the numbers named `form.constants` stand for."""
    shares = dict(zip(form.constants, map(float, constants), strict=True))
    level = shares["level"]
    season = (1 - level) * shares.get("season", 0.0)
    return Smoothing(level, level * shares.get("trend", 0.0), season, shares.get("damping", 1.0))


def _squared_error(values: np.ndarray, form: Form, smoothing: Smoothing) -> float:
    """Sum of the squared errors of `values` with the best starting state; infinite for constants not admissible."""
    if form.period > 1 and np.abs(np.roots(_denominator(form, smoothing))).max(initial=0) > MAX_ROOT:
        return np.inf
    design = _design(form, smoothing.damping, len(values))
    filtered = _filtered(form, smoothing, np.column_stack([design, values]))
    # The last diagonal element of R is the norm of what the other columns leave of the last one.
    return float(np.asarray(np.linalg.qr(filtered, mode="r"))[-1, -1] ** 2)


def _design(form: Form, damping: float, steps: int) -> np.ndarray:
    """The share (steps, states) of each number of the starting state in each step, if there were no errors."""
    position = np.arange(steps)
    columns = [np.ones(steps)]
    if form.trend != "none":
        columns.append(np.cumsum(damping ** (position + 1.0)))
    columns += [(position % form.period == season).astype(float) for season in range(form.period - 1)]
    for wave in form.waves:
        columns += [np.cos(2 * np.pi * wave * position), np.sin(2 * np.pi * wave * position)]
    return np.column_stack(columns)


def _filtered(form: Form, smoothing: Smoothing, values: np.ndarray) -> np.ndarray:
    """The errors (steps, ...) of `values` (steps, ...), with a starting state of zeros."""
    from scipy.signal import lfilter

    return np.asarray(lfilter(_numerator(form, smoothing), _denominator(form, smoothing), values, axis=0))


# With the lag operator L, a step is y = (1 + a L / (1 - L) + d b L / ((1 - L)(1 - d L)) + c L^m / (1 - L^m)) e, for the
# shares a, b and c of level, slope and season, damping d and period m: level, slope and season add up their shares of
# the errors e. Multiplied by (1 - d L)(1 - L^m) it is the filter from y to e, without the roots that cancel out.
def _numerator(form: Form, smoothing: Smoothing) -> np.ndarray:
    difference = np.zeros(form.period + 1)
    difference[[0, -1]] = 1.0, -1.0
    return np.convolve(_undamped(form, smoothing), difference)


def _denominator(form: Form, smoothing: Smoothing) -> np.ndarray:
    undamped = _undamped(form, smoothing)
    whole_period = np.concatenate([[0.0], np.ones(form.period)])  # L (1 - L^m) / (1 - L)
    moved = np.convolve(undamped, smoothing.level * whole_period)
    moved[: form.period + 1] += smoothing.damping * smoothing.slope * whole_period
    moved[form.period : form.period + len(undamped)] += smoothing.season * undamped
    return _numerator(form, smoothing) + moved


def _undamped(form: Form, smoothing: Smoothing) -> np.ndarray:
    return np.array([1.0]) if form.trend == "none" else np.array([1.0, -smoothing.damping])
