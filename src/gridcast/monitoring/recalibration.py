"""Recompute the threshold of a detector from data of normal operation, and promote it if every gate passes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from gridcast.monitoring.new_threshold import NewThreshold
from gridcast.runtime import online
from gridcast.runtime.detector import DETECTOR_KEY
from gridcast.runtime.errors import ChampionChanged, ConfigError, PromotionRefused
from gridcast.runtime.model_files import MEMBERS_FILE, SETTINGS_FILE
from gridcast.runtime.online import OnlineThreshold
from gridcast.tracking import champion_change, mlflow_runs, model_loading, promotion, registry, run_recording
from gridcast.tracking.model_loading import LoadedModel
from gridcast.tracking.registry import Promotion
from gridcast.tracking.store import MAX_TEXT, Store, find_sweep, mlflow_errors

RECALIBRATION_KIND = "recalibration"
MAX_THRESHOLD_RATIO = 3.0
"""Factor by which the new threshold may differ from the old one: beyond it, the data or the plant have changed."""


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
    reason or a model that is not registered; ChampionChanged where `loaded` is not the champion any more; TrackingError
    when MLflow fails.
    """
    name, version, uri = loaded.reference.name, loaded.reference.version, loaded.reference.uri
    if name is None or version is None:
        raise ConfigError(f"{uri} is not registered; name a registered model")
    if force is not None and not force.strip():
        raise ConfigError("--force: the reason is empty; say why the gates do not count, it is kept with the version")
    store, parent = find_sweep(loaded.reference.run_id)
    _require_champion(store, name, version)
    if all(math.isclose(one.new, one.old, rel_tol=1e-9) for one in threshold.members or (threshold,)):
        return Promotion(version, name, already_champion=True)
    refusals = {gate: why for gate, judge in THRESHOLD_GATES.items() if (why := judge(threshold, max_false_alarms))}
    if refusals and force is None:
        gate, why = next(iter(refusals.items()))
        raise PromotionRefused(
            f"'{name}' keeps its threshold, the gate '{gate}' refused: {why}; "
            "--force REASON uses the new one anyway and records the reason"
        )
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
        model_id = registry.logged_model_id(store.client, run)
        if model_id is None:
            raise PromotionRefused(f"run {run.info.run_id} has no model that is ready; nothing can be registered")
        number, previous = promotion.register_champion(
            store.client,
            name,
            run,
            verb=RECALIBRATION_KIND,
            model_id=model_id,
            tags=tags,
            card=card[:MAX_TEXT],
            expected=version,
        )
    return Promotion(number, name, previous=previous)


def _require_champion(store: Store, name: str, version: str) -> None:
    """Complete a change that was interrupted. Raises ChampionChanged where `version` is not the champion any more."""
    with mlflow_errors(store.uri):
        champion_change.settle_change(store.client, name)
        number = registry.alias_number(registry.require_model(store.client, name), registry.CHAMPION)
    if number != version:
        now = "it has no champion now" if number is None else f"version {number} is the champion now"
        raise ChampionChanged(
            f"'{name}': the threshold is that of version {version}, but {now}; nothing was changed; repeat the "
            f"{RECALIBRATION_KIND}"
        )


def _files_with_threshold(uri: str, threshold: NewThreshold) -> dict[str, bytes]:
    """Return the files of the model at `uri`, with the new threshold in its settings."""
    files = model_loading.download_files(uri)
    changed = {SETTINGS_FILE: threshold}
    if threshold.members:
        names = [settings for settings, _ in json.loads(files[MEMBERS_FILE])["members"]]
        changed = dict(zip(names, threshold.members, strict=True))
    return files | {name: _settings_with_threshold(files[name], one) for name, one in changed.items()}


def _settings_with_threshold(content: bytes, threshold: NewThreshold) -> bytes:
    settings = json.loads(content)
    final = threshold.hindsight or OnlineThreshold(0, threshold.new, threshold.seen)
    settings[DETECTOR_KEY]["threshold"] = final.threshold
    if final.seen is not None:
        settings[DETECTOR_KEY]["seen"] = asdict(final.seen)
    if threshold.online:
        settings[DETECTOR_KEY]["online"] = online.to_json(threshold.online)
    if threshold.level is not None:
        settings[DETECTOR_KEY]["level"] = threshold.level
    return json.dumps(settings).encode()


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
        unfinished = run_recording.open_run(store, parent, entry)
        run_recording.record_run(store, parent, entry, unfinished)
        runs = mlflow_runs.finished_runs(store, [key], RECALIBRATION_KIND)
    return runs[key]
