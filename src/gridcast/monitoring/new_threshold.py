"""A threshold that is recomputed from data of normal operation, and the figures by which gates judge it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from gridcast.config.threshold_rules import RUNNING
from gridcast.evaluation import thresholds
from gridcast.evaluation.promised_threshold import promised_threshold
from gridcast.monitoring.normal_operation import ScoredOperation
from gridcast.runtime import events, running_threshold
from gridcast.runtime.detector import Detector
from gridcast.runtime.errors import DataError
from gridcast.runtime.online import OnlineThreshold, threshold_after
from gridcast.runtime.running_threshold import ScoreHistory

HELD_OUT_SHARE = 1 / 3
"""Share of the normal scores, the last ones, on which the new threshold is tested instead of fitted."""
MIN_SCORES = 100
"""Scores that a threshold is fitted to, at least."""


@dataclass(frozen=True)
class NewThreshold:
    """A recomputed threshold, with the figures that the gates judge.

    The `old` threshold and the `new` one, which is fitted to `fitted` scores and tested on `held_out` others;
    `false_alarms` is the share of these (0 to 1) that exceed it. `left_out` steps are labelled as anomalous, or share a
    window with one that is. `events` are those of the champion among the other steps; `labelled` says that labels call
    these steps normal. The scores are from `first` to `last`. `seen` is the state that a running threshold continues
    from.

    Of a detector with thresholds for live scores these figures are of the one that `gridcast detect` uses by default.
    `online` holds all of them, refitted to the same steps, and `hindsight` the one of scores in hindsight. `level` is
    the one at which a running threshold keeps a promise; None where it does not change.

    Of an ensemble whose `members` decide by their own thresholds, `new` is how many times as large as before the one is
    that changes most, and `old` is 1.
    """

    old: float
    new: float
    fitted: int
    held_out: int
    false_alarms: float
    left_out: int
    events: tuple[str, ...]
    labelled: bool
    first: pd.Timestamp
    last: pd.Timestamp
    seen: ScoreHistory | None = None
    online: tuple[OnlineThreshold, ...] = ()
    hindsight: OnlineThreshold | None = None
    level: float | None = None
    members: tuple[NewThreshold, ...] = ()

    @property
    def summary(self) -> str:
        """The result in one line."""
        what = "thresholds of its members" if self.members else "threshold"
        changes = ", ".join(f"{one.new:.6g} instead of {one.old:.6g}" for one in self.members or (self,))
        return (
            f"{what} {changes}, from {self.fitted:,} steps of normal operation ({self.first} to {self.last}, "
            f"{self.left_out:,} left out); {self.false_alarms:.2%} of the {self.held_out:,} held-out steps exceed it"
        )


def new_threshold(detector: Detector, operation: ScoredOperation, last: pd.Timedelta | None = None) -> NewThreshold:
    """Fit a threshold to the first normal scores by the detector's own rule, and test it on the last ones.

    With `last`, only the scores of that most recent span are used. Raises DataError where too few scores are left.
    """
    is_recent = np.ones(len(operation.scores), bool) if last is None else operation.is_recent(last)
    scores, normal = operation.scores[is_recent], operation.normal[is_recent]
    has_score = scores["score"].notna().to_numpy()
    values = scores["score"].to_numpy()[normal]
    fitted = math.floor(len(values) * (1 - HELD_OUT_SHARE))
    if fitted < MIN_SCORES:
        raise DataError(
            f"{len(values)} steps can be scored and are not labelled as anomalous, at least "
            f"{MIN_SCORES / (1 - HELD_OUT_SHARE):.0f} are needed; give more data"
        )
    new, seen, level = _fit(values[:fitted], detector)
    live, hindsight = _refitted_views(detector, operation, operation.normal & is_recent, fitted)
    held_out_thresholds = running_threshold.thresholds(
        values[fitted:], new, detector.level if level is None else level, seen
    )
    champion_events = events.find_events(
        np.where(normal, scores["score"], np.nan),
        scores["threshold"].to_numpy(),
        np.where(normal[:, None], scores[list(detector.sensors)], np.nan),
        detector.sensors,
        min_steps=detector.least,
        merge_gap=detector.gap,
    )
    found = NewThreshold(
        old=detector.threshold_after(detector.wait).threshold if live else detector.threshold,
        new=new,
        fitted=fitted,
        held_out=len(values) - fitted,
        false_alarms=float(np.mean(values[fitted:] > held_out_thresholds)),
        left_out=int((has_score & ~normal).sum()),
        events=tuple(f"{scores.index[event.start]} to {scores.index[event.end - 1]}" for event in champion_events),
        labelled=operation.labelled,
        first=scores.index[has_score][0],
        last=scores.index[has_score][-1],
        seen=seen,
        online=live,
        hindsight=hindsight,
        level=level,
    )
    return _of_members(detector, operation, last, found) if operation.members else found


def _of_members(
    detector: Detector, operation: ScoredOperation, last: pd.Timedelta | None, whole: NewThreshold
) -> NewThreshold:
    """The figures of the ensemble `whole` with a new threshold of each of its members."""
    pairs = list(zip(detector.members, operation.members, strict=True))
    members = tuple(new_threshold(member, scored, last) for member, scored in pairs)
    ratios = []
    for (member, scored), one in zip(pairs, members, strict=True):
        view = detector.wait if detector.wait in scored.by_wait else None
        scores = pd.Series(scored.by_wait.get(view, scored.scores["score"]), scored.scores.index)
        live = None if view is None else threshold_after(one.online, view)
        limit = (live or one.hindsight or OnlineThreshold(member.settling, one.new)).threshold
        ratios.append(scores.reindex(operation.scores.index).to_numpy() / limit)
    is_recent = np.ones(len(operation.scores), bool) if last is None else operation.is_recent(last)
    lowest = np.min(ratios, axis=0)[operation.normal & is_recent][whole.fitted :]
    change = max((one.new / one.old for one in members), key=lambda ratio: abs(math.log(ratio)))
    return replace(
        whole, old=1.0, new=change, false_alarms=float(np.mean(lowest > 1)), online=(), hindsight=None, members=members
    )


def _fit(scores: np.ndarray, detector: Detector) -> tuple[float, ScoreHistory | None, float | None]:
    """The threshold of `scores` (n,) by the rule or the promise of `detector`, a history, and the level if it changes.

    Models made before there were promises have none.
    """
    promise = getattr(detector, "promise", None)
    if promise is None:
        return *thresholds.fit_threshold_with_history(scores, detector.rule, detector.level), None
    kept = promised_threshold(scores, promise, min_steps=detector.least, merge_gap=detector.gap)
    if detector.rule != RUNNING:
        return kept, None, None
    history = running_threshold.score_history(scores)
    level = history.level_of(kept)
    return history.threshold(level), history, level


def _refitted_views(
    detector: Detector, operation: ScoredOperation, mask: np.ndarray, fitted: int
) -> tuple[tuple[OnlineThreshold, ...], OnlineThreshold | None]:
    """Return the thresholds of all views in `operation`, from the first `fitted` scores of the steps of `mask`."""
    refitted = {wait: _fit(scores[mask][:fitted], detector)[:2] for wait, scores in operation.by_wait.items()}
    live = tuple(OnlineThreshold(wait, *found) for wait, found in refitted.items() if wait is not None)
    return live, OnlineThreshold(detector.settling, *refitted[None]) if refitted else None
