"""Whether the errors of new steps are larger than those of the test span, judged so that no single step decides."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gridcast.monitoring.drift import increase_p_value, independent_blocks

MIN_STEPS = 3
"""Steps on either side below which nothing is compared."""
TRIMMED_SHARE, MAX_TRIMMED_SHARE = 0.1, 0.4
"""Share of steps, those with the largest errors, that the trimmed mean leaves out: as many as one wrong value
can spoil, within these bounds."""
USUAL_SHARE = 0.95
"""Share of the steps of the test span whose error is usual."""
MIN_TEST_STEPS = 60
"""Steps of the test span below which `usual` is too uncertain to judge the share of steps that are off."""


@dataclass(frozen=True)
class ErrorShift:
    """The errors of new steps in units of those of the test span.

    Of `steps` judged steps, `off` have an error above `usual`, which 95 % of the steps of the test span stay below;
    they lie in `blocks` runs of neighbouring steps. `ratio` is the error now in units of that of the test span, both
    without the share `trimmed` of the steps with the largest errors; `p_value` is that of the hypothesis that it has
    not risen.
    `off_p_value` is that of the hypothesis that the share of steps that are off has not, without the longest block of
    `longest` steps: that is one event. NaN where nothing can be computed.
    """

    steps: int
    off: int
    blocks: int
    longest: int
    usual: float
    trimmed: float
    ratio: float
    p_value: float
    off_p_value: float

    @property
    def share_off(self) -> float:
        """The share of the judged steps that are off, 0 to 1."""
        return self.off / self.steps if self.steps else math.nan

    def is_risen(self, limit: float, alpha: float) -> bool:
        """Whether one of the two measures is beyond its limit, and unlikely so by chance at `alpha` for both together.

        `limit` is that of the ratio; the share of steps that are off is beyond its own where it is more than twice the
        usual one, times `limit`.
        """
        mean_rose = self.ratio > limit and self.p_value <= alpha / 2
        return mean_rose or (self.is_often_off(limit) and self.off_p_value <= alpha / 2)

    def is_often_off(self, limit: float) -> bool:
        """Whether the share of steps that are off is beyond its limit even without the longest block."""
        return self.steps > 0 and (self.off - self.longest) / self.steps > 2 * limit * (1 - USUAL_SHARE)


def measure_errors(now: np.ndarray, before: np.ndarray, *, overlap: int, reach: int) -> ErrorShift:
    """Return how far the errors `now` (n,) exceed those `before` (m,), both in time order and not NaN.

    `overlap` neighbouring errors depend on each other, and one wrong value spoils those of `reach` steps after it.
    Source of the test: Yuen (1974), "The two-sample trimmed t for unequal population variances": means are trimmed,
    their variances are those of winsorised values. Departures: only large errors are trimmed, the variances are those
    of Newey and West, see `drift.increase_p_value`, and their degrees of freedom those of the shorter span.
    """
    if min(len(now), len(before)) < MIN_STEPS:
        return ErrorShift(len(now), 0, 0, 0, math.nan, math.nan, math.nan, math.nan, math.nan)
    usual = float(np.quantile(before, USUAL_SHARE))
    is_off, was_off = now > usual, before > usual
    starts, ends = _runs(is_off)
    lengths, without_longest = ends - starts, is_off.copy()
    if len(lengths):
        longest = int(np.argmax(lengths))
        without_longest[starts[longest] : ends[longest]] = False
    share = min(MAX_TRIMMED_SHARE, max(TRIMMED_SHARE, (reach + 1) / len(now)))
    # The variance of the shorter span decides: it has as many degrees of freedom as blocks that do not depend.
    freedom = max(1.0, independent_blocks(min(len(now), len(before)), overlap) - 1)
    level, can_judge_share = _trimmed_mean(before, share), len(before) >= MIN_TEST_STEPS
    return ErrorShift(
        steps=len(now),
        off=int(is_off.sum()),
        blocks=len(lengths),
        longest=int(max(lengths, default=0)),
        usual=usual,
        trimmed=share,
        ratio=_trimmed_mean(now, share) / level if level > 0 else math.nan,
        p_value=increase_p_value(_trimmed_values(now, share), _trimmed_values(before, share), overlap, freedom=freedom),
        off_p_value=increase_p_value(
            without_longest.astype(float), was_off.astype(float), overlap + reach, freedom=freedom
        )
        if can_judge_share
        else math.nan,
    )


def _runs(is_off: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first step of each run of True (runs,), and the step after its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_off, [False]]).astype(int)))
    return edges[::2], edges[1::2]


def _trimmed_mean(errors: np.ndarray, share: float) -> float:
    """The mean without the `share` of the steps with the largest errors."""
    return float(np.sort(errors)[: len(errors) - math.ceil(share * len(errors))].mean())


def _trimmed_values(errors: np.ndarray, share: float) -> np.ndarray:
    """Values (n,) whose mean is the trimmed mean, and the variance of that mean its own: winsorised ones, rescaled."""
    winsorised = np.minimum(errors, np.sort(errors)[-1 - math.ceil(share * len(errors))])
    return _trimmed_mean(errors, share) + (winsorised - winsorised.mean()) / (1 - share)
