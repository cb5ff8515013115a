"""Distributions of the next value, held against SciPy's."""

import numpy as np
import pytest
from scipy import special, stats

pytestmark = pytest.mark.usefixtures("jax_backend")

NAMES = ("gaussian", "student-t", "negative-binomial")


def family(name):
    from gridcast.runtime.likelihoods import LIKELIHOODS

    return LIKELIHOODS[name]


def softplus(values):
    return np.logaddexp(0, values)


def theirs(name, raw, scale):
    """SciPy's distribution for these raw numbers."""
    raw = np.asarray(raw, float)
    if name == "gaussian":
        return stats.norm(raw[..., 0] * scale, (softplus(raw[..., 1]) + 1e-4) * scale)
    if name == "student-t":
        spread = (softplus(raw[..., 1]) + 1e-4) * scale
        return stats.t(2 + softplus(raw[..., 2]), raw[..., 0] * scale, spread)
    mean, failures = (softplus(raw[..., 0]) + 1e-4) * scale, 1 / (softplus(raw[..., 1]) + 1e-4)
    return stats.nbinom(failures, failures / (failures + mean))


def density(name, raw, value, scale):
    return np.asarray(family(name).log_density(*(np.asarray(part, np.float32) for part in (raw, value, scale))))


def cases(name, count=400, seed=0):
    """Raw numbers, values that may well come of them, and scales of several sizes."""
    random = np.random.default_rng(seed)
    raw = random.normal(0, 2, (count, family(name).parameters)).astype(np.float32)
    scale = np.float32(10.0) ** random.integers(-2, 6, count)
    value = theirs(name, raw, scale).rvs(random_state=random)
    return raw, np.float32(value), scale


@pytest.mark.parametrize("name", NAMES)
def test_log_density_is_that_of_scipy(name):
    raw, value, scale = cases(name)
    other = theirs(name, raw, scale)
    expected = (other.logpmf if name == "negative-binomial" else other.logpdf)(value)
    np.testing.assert_allclose(density(name, raw, value, scale), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_the_mean_is_that_of_scipy(name):
    raw, _, scale = cases(name)
    np.testing.assert_allclose(family(name).mean(raw, scale), theirs(name, raw, scale).mean(), rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_draws_have_the_quantiles_of_scipy(name):
    draws, levels = 40_000, np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    raw = np.array([[0.5, -1.0, 0.0], [2.0, 0.5, 3.0], [-0.5, -4.0, -6.0]])[:, : family(name).parameters]
    scale = np.array([1.0, 100.0, 7.0])
    many = np.repeat(raw[:, None], draws, axis=1), np.repeat(scale[:, None], draws, axis=1)
    drawn = family(name).draw(*many, np.random.default_rng(0))
    for one, r, s in zip(drawn, raw, scale, strict=True):
        other = theirs(name, r, s)
        # The share below each quantile is binomial: five standard errors, and the mass of the quantile itself.
        quantiles = other.ppf(levels)
        below, upto = np.mean(one[:, None] < quantiles, axis=0), np.mean(one[:, None] <= quantiles, axis=0)
        error = 5 * np.sqrt(levels * (1 - levels) / draws)
        assert np.all(below - error <= levels)
        assert np.all(levels <= upto + error)


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_that_of_finite_differences(name):
    import jax

    raw, value, scale = cases(name, 50, seed=1)
    found = jax.grad(lambda raw: family(name).log_density(raw, value, scale).sum())(raw)
    other = np.empty(raw.shape)
    for k in range(raw.shape[1]):
        step = np.zeros(raw.shape[1])
        step[k] = 1e-5
        high, low = (theirs(name, raw + sign * step, scale) for sign in (1, -1))
        log = [(d.logpmf if name == "negative-binomial" else d.logpdf)(value) for d in (high, low)]
        other[:, k] = (log[0] - log[1]) / 2e-5
    np.testing.assert_allclose(found, other, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradient_are_finite_at_the_extremes(name):
    import jax

    width = family(name).parameters
    raws = np.array(np.meshgrid(*[[-1e30, -50.0, 0.0, 50.0, 1e30]] * width)).reshape(width, -1).T
    values = np.array([0.0, 1.0, 1e6, 3e7])
    scales = np.array([1e-4, 0.01, 1.0, 1e6])
    raw, value, scale = (
        part.reshape(-1, *part.shape[3:]).astype(np.float32)
        for part in (
            np.broadcast_to(raws[:, None, None], (len(raws), 4, 4, width)),
            np.broadcast_to(values[None, :, None], (len(raws), 4, 4)),
            np.broadcast_to(scales[None, None], (len(raws), 4, 4)),
        )
    )
    assert np.isfinite(density(name, raw, value, scale)).all()
    gradient = jax.grad(lambda raw: family(name).log_density(raw, value, scale).sum())(raw)
    assert np.isfinite(gradient).all()
    drawn = family(name).draw(raw.astype(float), scale, np.random.default_rng(0))
    assert np.isfinite(drawn).all()


def test_log_gamma_is_that_of_scipy():
    from gridcast.runtime.likelihoods import log_gamma

    x = np.geomspace(1e-4, 1e6, 500).astype(np.float32)
    np.testing.assert_allclose(log_gamma(x), special.gammaln(x.astype(float)), rtol=1e-5, atol=2e-5)


def test_quantiles_that_rise_never_cross():
    from keras import ops

    from gridcast.runtime.likelihoods import increasing_quantiles

    raw = np.random.default_rng(0).normal(0, 50, (100, 5)).astype(np.float32)
    for arrays in (np, ops):
        found = np.asarray(increasing_quantiles(raw, arrays))
        assert (np.diff(found, axis=-1) >= 0).all()
        np.testing.assert_array_equal(found[:, 0], raw[:, 0])
