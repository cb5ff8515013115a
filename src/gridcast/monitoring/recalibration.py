"""Recompute the threshold of a detector from data of normal operation, and promote it if every gate passes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from gridcast.evaluation import thresholds
from gridcast.monitoring.normal_operation import ScoredOperation
from gridcast.runtime import events, online, running_threshold
from gridcast.runtime.detector import DETECTOR_KEY, Detector
from gridcast.runtime.errors import ConfigError, DataError, PromotionRefused
from gridcast.runtime.model_files import SETTINGS_FILE
from gridcast.runtime.online import OnlineThreshold
from gridcast.tracking import mlflow_runs, model_loading, promotion, registry, run_recording
from gridcast.tracking.model_loading import LoadedModel
from gridcast.tracking.registry import Promotion
from gridcast.tracking.store import MAX_TEXT, Store, find_sweep, mlflow_errors

RECALIBRATION_KIND = "recalibration"
HELD_OUT_SHARE = 1 / 3
"""Share of the normal scores, the last ones, on which the new threshold is tested instead of fitted."""
MAX_THRESHOLD_RATIO = 3.0
"""Factor by which the new threshold may differ from the old one: beyond it, the data or the plant have changed."""
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
    `online` holds all of them, refitted to the same steps, and `hindsight` the one of scores in hindsight.
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
    seen: running_threshold.ScoreHistory | None = None
    online: tuple[OnlineThreshold, ...] = ()
    hindsight: OnlineThreshold | None = None

    @property
    def summary(self) -> str:
        """The result in one line."""
        return (
            f"threshold {self.new:.6g} instead of {self.old:.6g}, from {self.fitted:,} steps of normal operation "
            f"({self.first} to {self.last}, {self.left_out:,} left out); {self.false_alarms:.2%} of the "
            f"{self.held_out:,} held-out steps exceed it"
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
    new, seen = thresholds.fit_threshold_with_history(values[:fitted], detector.rule, detector.level)
    live, hindsight = _refitted_views(detector, operation, operation.normal & is_recent, fitted)
    held_out_thresholds = running_threshold.thresholds(values[fitted:], new, detector.level, seen)
    champion_events = events.find_events(
        np.where(normal, scores["score"], np.nan),
        scores["threshold"].to_numpy(),
        np.where(normal[:, None], scores[list(detector.sensors)], np.nan),
        detector.sensors,
        min_steps=detector.least,
        merge_gap=detector.gap,
    )
    return NewThreshold(
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
    )


def _refitted_views(
    detector: Detector, operation: ScoredOperation, mask: np.ndarray, fitted: int
) -> tuple[tuple[OnlineThreshold, ...], OnlineThreshold | None]:
    """Return the thresholds of all views in `operation`, from the first `fitted` scores of the steps of `mask`."""
    refitted = {
        wait: thresholds.fit_threshold_with_history(scores[mask][:fitted], detector.rule, detector.level)
        for wait, scores in operation.by_wait.items()
    }
    live = tuple(OnlineThreshold(wait, *found) for wait, found in refitted.items() if wait is not None)
    return live, OnlineThreshold(detector.settling, *refitted[None]) if refitted else None


def _no_event_is_flagged(threshold: NewThreshold, max_false_alarms: float) -> str | None:  # noqa: ARG001 - as all gates
    if threshold.labelled or not threshold.events:
        return None
    return (
        f"the champion itself finds {len(threshold.events)} events in these data, the first from "
        f"{threshold.events[0]}: add a column of labels that marks every row as anomalous (1, left out) or normal (0, "
        "used)"
    )


def _false_alarms_are_few(threshold: NewThreshold, max_false_alarms: float) -> str | None:
    if threshold.false_alarms <= max_false_alarms:
        return None
    return (
        f"{threshold.false_alarms:.2%} of the {threshold.held_out:,} held-out steps exceed the new threshold "
        f"{threshold.new:.6g}, {max_false_alarms:.2%} are allowed (--max-false-alarms)"
    )


def _threshold_is_near(threshold: NewThreshold, max_false_alarms: float) -> str | None:  # noqa: ARG001
    if threshold.old / MAX_THRESHOLD_RATIO <= threshold.new <= threshold.old * MAX_THRESHOLD_RATIO:
        return None
    return (
        f"the new threshold {threshold.new:.6g} differs from the old one, {threshold.old:.6g}, by more than a factor "
        f"of {MAX_THRESHOLD_RATIO:g}"
    )


THRESHOLD_GATES: dict[str, Callable[[NewThreshold, float], str | None]] = {
    "nothing is flagged": _no_event_is_flagged,
    "false alarms are few": _false_alarms_are_few,
    "threshold is near": _threshold_is_near,
}
"""Gates in their order; each returns why it refuses the threshold, or None."""


def recalibrate(
    loaded: LoadedModel, threshold: NewThreshold, *, source: str, max_false_alarms: float, force: str | None = None
) -> Promotion:
    """Register the champion `loaded` with the new threshold as a new version of its model, and make it champion.

    `max_false_alarms` is the share that is allowed on the held-out steps; `force` is the reason for ignoring the gates.
    The version that is replaced gets the alias `previous`. Nothing changes where the threshold is the same; a version
    that a crash left without an alias is used again.

    Raises PromotionRefused with the gate and the figures, leaving the registry as it was; ConfigError for an empty
    reason or a model that is not registered; TrackingError when MLflow fails.
    """
    name, version, uri = loaded.reference.name, loaded.reference.version, loaded.reference.uri
    if name is None or version is None:
        raise ConfigError(f"{uri} is not registered; name a registered model")
    if force is not None and not force.strip():
        raise ConfigError("--force: the reason is empty; say why the gates do not count, it is kept with the version")
    if math.isclose(threshold.new, threshold.old, rel_tol=1e-9):
        return Promotion(version, name, already_champion=True)
    refusals = {gate: why for gate, judge in THRESHOLD_GATES.items() if (why := judge(threshold, max_false_alarms))}
    if refusals and force is None:
        gate, why = next(iter(refusals.items()))
        raise PromotionRefused(
            f"'{name}' keeps its threshold, the gate '{gate}' refused: {why}; "
            "--force REASON uses the new one anyway and records the reason"
        )
    store, parent = find_sweep(loaded.reference.run_id)
    run = _record_run(
        store, parent, _files_with_threshold(uri, threshold), threshold=threshold, name=name, version=version
    )
    tags = {mlflow_runs.KEY_TAG: run.data.tags[mlflow_runs.KEY_TAG], "gridcast.threshold": repr(threshold.new)}
    card = f"# {name}: {RECALIBRATION_KIND} of version {version}\nFrom `{source}`: {threshold.summary}."
    if force is not None:
        refused = "".join(f" The gate '{gate}' had refused: {why}." for gate, why in refusals.items())
        card += f"\n\n**Set by force: {force}.{refused}**"
        tags[registry.FORCED_TAG] = force[:MAX_TEXT]
    with mlflow_errors(store.uri):
        champion = registry.version_with_alias(
            store.client, registry.registered_model(store.client, name), registry.CHAMPION
        )
        model_id = registry.logged_model_id(store.client, run)
        if model_id is None:
            raise PromotionRefused(f"run {run.info.run_id} has no model that is ready; nothing can be registered")
        number, previous = promotion.register_champion(
            store.client, name, run, model_id=model_id, tags=tags, card=card[:MAX_TEXT], champion=champion
        )
    return Promotion(number, name, previous=previous)


def _files_with_threshold(uri: str, threshold: NewThreshold) -> dict[str, bytes]:
    """Return the files of the model at `uri`, with the new threshold in its settings."""
    files = model_loading.download_files(uri)
    settings = json.loads(files[SETTINGS_FILE])
    final = threshold.hindsight or OnlineThreshold(0, threshold.new, threshold.seen)
    settings[DETECTOR_KEY]["threshold"] = final.threshold
    if final.seen is not None:
        settings[DETECTOR_KEY]["seen"] = asdict(final.seen)
    if threshold.online:
        settings[DETECTOR_KEY]["online"] = online.to_json(threshold.online)
    files[SETTINGS_FILE] = json.dumps(settings).encode()
    return files


def _record_run(
    store: Store, parent: str, files: Mapping[str, bytes], *, threshold: NewThreshold, name: str, version: str
) -> Any:
    """Return the MLflow run of the recalibrated model, which is recorded unless a run of the same files exists."""
    # The key is made of the files, so that a second start after a crash finds the run of the first.
    content = b"\0".join(part for file in sorted(files) for part in (file.encode(), files[file]))
    key = hashlib.sha256(content).hexdigest()
    runs = mlflow_runs.finished_runs(store, [key], RECALIBRATION_KIND)
    if not runs:
        entry = run_recording.RunEntry(
            f"{RECALIBRATION_KIND} of {name} version {version}",
            RECALIBRATION_KIND,
            key,
            {"gridcast.model": name, "gridcast.model_version": version},
            metrics={
                "threshold": threshold.new,
                "threshold_before": threshold.old,
                "false_alarms": threshold.false_alarms,
            },
            files=files,
            backend="jax",
        )
        run_recording.record_run(store, parent, entry)
        runs = mlflow_runs.finished_runs(store, [key], RECALIBRATION_KIND)
    return runs[key]
