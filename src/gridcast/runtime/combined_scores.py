"""The score of an ensemble of detectors from those of its members. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .events import anomaly_score
from .normal_statistics import MIN_VARIANCE


def combine(contributions: Sequence[np.ndarray], thresholds: Sequence[float], *, minimum: bool) -> np.ndarray:
    """Return the contributions (steps, sensors) of an ensemble from those of its members, each (steps, sensors).

    The score of a step is the geometric mean of the members' scores in units of their `thresholds`, or their `minimum`.
    A sensor has the mean of its shares in the scores of those members that have a contribution of it. NaN where one of
    the members has no score.
    """
    log_ratios, shares = np.empty((len(contributions), len(contributions[0]), 1)), np.zeros(contributions[0].shape)
    count = np.zeros(shares.shape, int)
    for log_ratio, of_member, threshold in zip(log_ratios, contributions, thresholds, strict=True):
        score = np.maximum(anomaly_score(of_member)[:, None], MIN_VARIANCE)
        log_ratio[:] = np.log(score / max(threshold, MIN_VARIANCE))
        is_known = np.isfinite(of_member)
        shares += np.where(is_known, of_member, 0.0) / score / len(contributions)
        count += is_known
    shares[count == 0] = np.nan
    # Where members lack different sensors, the mean of the shares is not 1.
    uneven = ((count > 0) & (count < len(contributions))).any(axis=1)
    shares[uneven] /= np.maximum(anomaly_score(shares[uneven])[:, None], MIN_VARIANCE)
    combined = log_ratios.min(axis=0) if minimum else log_ratios.mean(axis=0)
    return np.asarray(shares * np.exp(combined))
