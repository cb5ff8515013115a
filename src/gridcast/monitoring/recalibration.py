"""The threshold of a champion, taken anew from data that are confirmed to be normal, and the gates before it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gridcast.evaluation import thresholds
from gridcast.monitoring.normal_operation import ScoredOperation
from gridcast.runtime import events, running_threshold
from gridcast.runtime.detector import DETECTOR_KEY, Detector
from gridcast.runtime.errors import ConfigError, DataError, PromotionRefused
from gridcast.runtime.forecaster import SETTINGS_FILE
from gridcast.tracking import mlflow_runs, model_loading, promotion, registry
from gridcast.tracking.model_loading import LoadedModel
from gridcast.tracking.registry import Promotion
from gridcast.tracking.store import MAX_TEXT, find_sweep, mlflow_errors

RECALIBRATION_KIND = "recalibration"
HELD_OUT_SHARE = 1 / 3
"""Share of the normal scores, the last ones, that the new threshold is not taken from but tried on."""
MAX_THRESHOLD_RATIO = 3.0
"""How many times the old threshold the new one may be, either way: beyond that the data or the plant are others."""
MIN_SCORES = 100
"""Scores that a threshold is taken from, at least."""


@dataclass(frozen=True)
class NewThreshold:
    """What came of it: the `old` and the `new` threshold, the latter from `fitted` scores and tried on `tried` others.

    `false_alarms` is the share of these (0 to 1) that lie above it. `left_out` steps are labelled as anomalous,
    or so near to one that is that a window reads both. `flagged` are the events that the champion raises in what is
    left; `confirmed` tells that there are labels, which call them normal. From `first` to `last`. A running threshold
    goes on from what was `seen`.
    """

    old: float
    new: float
    fitted: int
    tried: int
    false_alarms: float
    left_out: int
    flagged: tuple[str, ...]
    confirmed: bool
    first: pd.Timestamp
    last: pd.Timestamp
    seen: running_threshold.ScoreHistory | None = None

    @property
    def summary(self) -> str:
        """In a sentence."""
        return (
            f"threshold {self.new:.6g} instead of {self.old:.6g}, from {self.fitted:,} steps of normal operation "
            f"({self.first} to {self.last}, {self.left_out:,} left out); {self.false_alarms:.2%} of the "
            f"{self.tried:,} steps held out lie above it"
        )


def new_threshold(detector: Detector, operation: ScoredOperation, last: pd.Timedelta | None = None) -> NewThreshold:
    """A threshold by the rule of the training from the first scores of `operation`, tried on the last ones.

    Where a `last` span is given, those of that span alone. Raises DataError where too few steps are left to take one
    from.
    """
    said, normal = operation.said, operation.normal
    if last is not None:
        late = operation.late(last)
        said, normal = said[late], normal[late]
    scored, left = said["score"].notna().to_numpy(), said[normal]
    fitted = math.floor(len(left) * (1 - HELD_OUT_SHARE))
    if fitted < MIN_SCORES:
        raise DataError(
            f"{len(left)} steps can be scored and are not labelled as anomalous, {MIN_SCORES / (1 - HELD_OUT_SHARE):.0f} are "
            "needed at least; give more data"
        )
    scores = left["score"].to_numpy()
    new, seen = thresholds.fit_threshold_with_state(scores[:fitted], detector.rule, detector.level)
    limits = running_threshold.thresholds(scores[fitted:], new, detector.level, seen)
    contributions = np.where(normal[:, None], said[list(detector.sensors)], np.nan)
    score = np.where(normal, said["score"], np.nan)
    own = said["threshold"].to_numpy()
    found = events.find_events(score, own, contributions, detector.sensors, detector.least, detector.gap)
    return NewThreshold(
        old=detector.threshold,
        new=new,
        fitted=fitted,
        tried=len(scores) - fitted,
        false_alarms=float(np.mean(scores[fitted:] > limits)),
        left_out=int((scored & ~normal).sum()),
        flagged=tuple(f"{said.index[event.start]} to {said.index[event.end - 1]}" for event in found),
        confirmed=operation.labelled,
        first=said.index[scored][0],
        last=said.index[scored][-1],
        seen=seen,
    )


def _nothing_is_flagged(found: NewThreshold, most: float) -> str | None:  # noqa: ARG001 - as all gates
    if found.confirmed or not found.flagged:
        return None
    return (
        f"the champion itself finds {len(found.flagged)} events in these data, the first from {found.flagged[0]}: give "
        "a column of labels that says of every row whether it is anomalous (1, left out) or normal (0, counts)"
    )


def _false_alarms_are_few(found: NewThreshold, most: float) -> str | None:
    if found.false_alarms <= most:
        return None
    return (
        f"{found.false_alarms:.2%} of the {found.tried:,} steps held out lie above the new threshold {found.new:.6g}, "
        f"{most:.2%} are allowed (--max-false-alarms)"
    )


def _threshold_is_near(found: NewThreshold, most: float) -> str | None:  # noqa: ARG001
    if found.old / MAX_THRESHOLD_RATIO <= found.new <= found.old * MAX_THRESHOLD_RATIO:
        return None
    return f"the new threshold {found.new:.6g} lies beyond {MAX_THRESHOLD_RATIO:g} times the old one, {found.old:.6g}, either way"


THRESHOLD_GATES: dict[str, Callable[[NewThreshold, float], str | None]] = {
    "nothing is flagged": _nothing_is_flagged,
    "false alarms are few": _false_alarms_are_few,
    "threshold is near": _threshold_is_near,
}
"""In their order; each tells why it refuses, or gives None."""


def recalibrate(
    loaded: LoadedModel, found: NewThreshold, *, source: Path, max_false_alarms: float, force: str | None = None
) -> Promotion:
    """Register the champion `loaded` with the threshold `found` as a new version of its model, and make it champion.

    `most` is the share of false alarms that is allowed on the steps held out; `force` is the reason for doing it
    whatever the gates say. The alias `previous` goes to the version that is replaced. Nothing changes where the
    threshold is what it was; a version that a crash left without alias is used again.

    Raises PromotionRefused with the gate and the figures, the registry as it was; ConfigError for an empty reason or
    a model that is not registered; TrackingError when MLflow fails.
    """
    name, version, uri = loaded.reference.name, loaded.reference.version, loaded.reference.uri
    if name is None or version is None:
        raise ConfigError(f"{uri} is not registered; name a registered model")
    if force is not None and not force.strip():
        raise ConfigError("--force: the reason is empty; say why the gates do not count, it is kept with the version")
    if math.isclose(found.new, found.old, rel_tol=1e-9):
        return Promotion(version, name, already_champion=True)
    refusals = {gate: why for gate, judge in THRESHOLD_GATES.items() if (why := judge(found, most))}
    if refusals and force is None:
        gate, why = next(iter(refusals.items()))
        raise PromotionRefused(
            f"'{name}' keeps its threshold, the gate '{gate}' refused: {why}; "
            "--force REASON takes the new one all the same and keeps the reason"
        )
    store, parent = find_sweep(loaded.reference.run_id)
    kept = model_loading.download_files(uri)
    content = json.loads(kept[SETTINGS_FILE])
    content[DETECTOR_KEY]["threshold"] = found.new
    content[DETECTOR_KEY] |= {} if found.seen is None else {"seen": asdict(found.seen)}
    kept[SETTINGS_FILE] = json.dumps(content).encode()
    key = hashlib.sha256(b"\0".join(part for file in sorted(kept) for part in (file.encode(), kept[file]))).hexdigest()
    known = mlflow_runs.finished_runs(store, [key], RECALIBRATION_KIND)
    if not known:
        metrics = {"threshold": found.new, "threshold_before": found.old, "false_alarms": found.false_alarms}
        tags = {"gridcast.model": name, "gridcast.model_version": version}
        entry = mlflow_runs.RunEntry(
            f"{RECALIBRATION_KIND} of {name} version {version}",
            RECALIBRATION_KIND,
            key,
            tags,
            metrics=metrics,
            files=kept,
            backend="jax",
        )
        mlflow_runs.record_run(store, parent, entry)
        known = mlflow_runs.finished_runs(store, [key], RECALIBRATION_KIND)
    run = known[key]
    against = "".join(f" The gate '{gate}' had refused: {why}." for gate, why in refusals.items())
    forced = f"\n\n**Taken by force: {force}.{against}**" if force is not None else ""
    card = f"# {name}: {RECALIBRATION_KIND} of version {version}\nFrom `{source}`: {found.summary}.{forced}"
    told = {registry.FORCED_TAG: force[:MAX_TEXT]} if force is not None else {}
    with mlflow_errors(store.uri):
        champion = registry.version_with_alias(
            store.client, registry.registered_model(store.client, name), registry.CHAMPION
        )
        model_id = registry.logged_model_id(store.client, run)
        if model_id is None:
            raise PromotionRefused(f"run {run.info.run_id} has no model that is ready; nothing can be registered")
        tags = {mlflow_runs.KEY_TAG: key, "gridcast.threshold": repr(found.new), **told}
        number, previous = promotion.register_champion(
            store.client, name, run, model_id, tags, card[:MAX_TEXT], champion
        )
    return Promotion(number, name, previous=previous)
