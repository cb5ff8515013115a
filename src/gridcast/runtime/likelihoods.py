"""Distributions of the next value: Gaussian, Student-t, negative binomial.

A network outputs raw numbers (..., parameters) for each step. Together with the scale of the window, in data units,
they are a distribution around its centre. Log densities and means are written for Keras, to be trained on; draws for
numpy, so that they are the same on every backend.

Source: Salinas, Flunkert, Gasthaus, Januschowski (2020), "DeepAR: Probabilistic Forecasting with Autoregressive
Recurrent Networks", section 3.1. Departures: the shape of the negative binomial is not scaled, so that it is the excess
of the relative variance whatever the size of the series; the Student-t, always with a finite variance, is not in the
paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

MIN_SPREAD = 1e-4
"""Least spread in units of the window's scale: otherwise the density of a constant series would be infinite."""
MAX_RAW = 1e6
"""Raw numbers are clipped to this magnitude, so that their squares are finite in single precision."""
Parameters = tuple[Any, ...]


@dataclass(frozen=True)
class Likelihood:
    """A family of distributions.

    `log_density(raw, value, scale)` is that of `value` (...), and `mean(raw, scale)` the expectation (...), both for
    Keras; `draw(raw, scale, generator)` returns a value (...), for numpy. `raw` is (..., parameters), the others are
    (...), in data units around the window's centre. `counts`: values are whole and not negative.
    """

    parameters: int
    log_density: Callable[[Any, Any, Any], Any]
    mean: Callable[[Any, Any], Any]
    draw: Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
    counts: bool = False


def _softplus(values: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, values)


def _keras() -> Any:
    from keras import ops

    return ops


def _split(raw: Any, clip: Callable[[Any, float, float], Any]) -> Parameters:
    raw = clip(raw, -MAX_RAW, MAX_RAW)
    return tuple(raw[..., k] for k in range(raw.shape[-1]))


def _gaussian(raw: Any, clip: Any, softplus: Any) -> Parameters:
    """Location and standard deviation, in units of the scale: in data units their gradients could overflow."""
    location, spread = _split(raw, clip)
    return location, softplus(spread) + MIN_SPREAD


def _gaussian_density(raw: Any, value: Any, scale: Any) -> Any:
    ops = _keras()
    location, spread = _gaussian(raw, ops.clip, ops.softplus)
    log_constant = -0.5 * math.log(2 * math.pi) - ops.log(spread) - ops.log(scale)
    return log_constant - 0.5 * ((value / scale - location) / spread) ** 2


def _gaussian_draw(raw: np.ndarray, scale: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    location, spread = _gaussian(raw, np.clip, _softplus)
    return np.asarray((location + spread * generator.standard_normal(location.shape)) * scale)


def _student(raw: Any, clip: Any, softplus: Any) -> Parameters:
    """Location and spread in units of the scale, and degrees of freedom, more than two for a finite variance."""
    location, spread, freedom = _split(raw, clip)
    return location, softplus(spread) + MIN_SPREAD, 2 + clip(softplus(freedom), 1e-3, 1e3)


def _student_density(raw: Any, value: Any, scale: Any) -> Any:
    ops = _keras()
    location, spread, freedom = _student(raw, ops.clip, ops.softplus)
    log_constant = log_gamma((freedom + 1) / 2) - log_gamma(freedom / 2) - 0.5 * ops.log(math.pi * freedom)
    squared = ((value / scale - location) / spread) ** 2
    return log_constant - ops.log(spread) - ops.log(scale) - (freedom + 1) / 2 * ops.log1p(squared / freedom)


def _student_draw(raw: np.ndarray, scale: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Source: Bailey (1994), "Polar generation of random variates with the t-distribution".

    Departure: the angle is drawn too, and nothing is rejected, so that as many random numbers are used for each value:
    networks that differ in the last bits still draw alike.
    """
    location, spread, freedom = _student(raw, np.clip, _softplus)
    radius = 1 - generator.random(location.shape)
    angle = 2 * np.pi * generator.random(location.shape)
    standard = np.sqrt(freedom * np.expm1(-2 / freedom * np.log(radius))) * np.cos(angle)
    return np.asarray((location + spread * standard) * scale)


def _negative_binomial(raw: Any, scale: Any, clip: Any, softplus: Any) -> Parameters:
    """Mean m and number of failures r: the variance is m + m² / r."""
    mean, shape = _split(raw, clip)
    return (softplus(mean) + MIN_SPREAD) * scale, 1 / (softplus(shape) + MIN_SPREAD)


def _negative_binomial_density(raw: Any, value: Any, scale: Any) -> Any:
    """Log probability. The leading terms of its three log gammas are combined first: for large counts they cancel."""
    ops = _keras()
    mean, failures = _negative_binomial(raw, scale, ops.clip, ops.softplus)
    k, r = value, failures
    leading = k * (ops.log1p((r - 1) / (k + 1)) - ops.log1p(r / mean)) + r * (ops.log(k + r) - ops.log(mean + r))
    rest = 0.5 * (ops.log(r) - ops.log(k + r) - ops.log(k + 1)) + 1 - 0.5 * math.log(2 * math.pi)
    return leading + rest + _stirling_remainder(k + r) - _stirling_remainder(k + 1) - _stirling_remainder(r)


def _negative_binomial_draw(raw: np.ndarray, scale: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    mean, failures = _negative_binomial(raw, scale, np.clip, _softplus)
    rate = generator.standard_gamma(failures) * (mean / failures)
    return generator.poisson(np.minimum(rate, 1e18)).astype(float)  # numpy refuses rates near 2**63


def log_gamma(x: Any) -> Any:
    """Return the logarithm of the gamma function of `x` > 0, for Keras, which has none."""
    ops = _keras()
    return (x - 0.5) * ops.log(x) - x + 0.5 * math.log(2 * math.pi) + _stirling_remainder(x)


def _stirling_remainder(x: Any) -> Any:
    """Remainder of Stirling's formula for log gamma: a series, below 8 that of x + 8 by the recurrence of gamma.

    Source: Abramowitz and Stegun (1964), 6.1.40 and 6.1.15.
    """
    ops = _keras()

    def series(x: Any) -> Any:
        return (1 / 12 - (1 / 360 - 1 / (1260 * x * x)) / (x * x)) / x

    small = ops.minimum(x, 8.0)
    product = small
    for k in range(1, 8):
        product = product * (small + k)
    above = small + 8
    low = (above - 0.5) * ops.log(above) - 8 + series(above) - ops.log(product) - (small - 0.5) * ops.log(small)
    # Both branches are computed, and their gradients must be finite: hence the minimum above and the maximum here.
    return ops.where(x < 8, low, series(ops.maximum(x, 8.0)))


def _location(raw: Any, scale: Any) -> Any:
    return raw[..., 0] * scale


def _positive(raw: Any, scale: Any) -> Any:
    return (_keras().softplus(raw[..., 0]) + MIN_SPREAD) * scale


LIKELIHOODS = {
    "gaussian": Likelihood(2, _gaussian_density, _location, _gaussian_draw),
    "student-t": Likelihood(3, _student_density, _location, _student_draw),
    "negative-binomial": Likelihood(2, _negative_binomial_density, _positive, _negative_binomial_draw, counts=True),
}
QUANTILE = "quantile"
"""The name of a likelihood that is no distribution: the network outputs the quantiles themselves."""


def increasing_quantiles(raw: Any, arrays: Any) -> Any:
    """Return quantiles (..., levels), in units of the window's scale, that never cross, from `raw` (..., levels).

    The first is the lowest quantile, the others are positive steps up from it. `arrays` is numpy or keras.ops.
    """
    softplus = _softplus if arrays is np else arrays.softplus
    return arrays.concatenate([raw[..., :1], raw[..., :1] + arrays.cumsum(softplus(raw[..., 1:]), axis=-1)], axis=-1)
