"""Training and scoring of the contenders of the anomaly benchmark, file by file; finished results are kept."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from anomaly_tasks import KINDS, RESULTS, SEEDS, FileTask
from peers import windows
from sklearn.metrics import roc_auc_score

from gridcast.config import grid, threshold_rules
from gridcast.evaluation import detection_metrics, detection_results, thresholds
from gridcast.models.baselines.detectors import DETECTOR_BASELINES
from gridcast.runtime import events, loading, running_threshold
from gridcast.runtime.detector import MINIMUM, Detector, scaled_values
from gridcast.sweep import ensemble
from gridcast.sweep.plan import Plan

SCALINGS = ("none", "centred", "standard")
NETWORKS = {kind if how == "none" else f"{how} {kind}": (kind, how) for how in SCALINGS for kind in KINDS}
ENSEMBLES = {
    "ensemble": ({"encoding": 5}, "mean"),
    "four kinds": (
        {"encoding": 1, "centred prediction": 1, "standard prediction": 1, "standard reconstruction": 1},
        "mean",
    ),
    "agreement": (
        {"prediction": 1, "centred prediction": 1, "standard prediction": 1, "standard reconstruction": 1},
        MINIMUM,
    ),
}
"""Number of networks of each kind, and how they are combined. With five networks, seed 0 stands for the seeds 0 to 4,
seed 1 for 5 to 9, seed 2 for 10 to 14.
"""
FIXED = ("mean-std", "lognormal", "quantile")
RULES = (*FIXED, threshold_rules.RUNNING)
"""Threshold rules; the first is that of the experiments, and its metrics have no suffix."""
TESTED = (("2016-11-01", "2017-04-01"), ("2017-08-01", "2018-01-01"))
"""Test spans of the mast, first day and the day after the last."""


Scores = dict[str, tuple[np.ndarray, np.ndarray]]
"""By threshold rule, the scores of all steps before the test and of those in the test."""


@dataclass(frozen=True)
class DetectionBenchmark:
    """One contender on one file with one seed; its scores are in an .npz file beside it.

    `asked` is the digest of the settings, see `_settings_digest`, `missed` the metric `val_faults_missed`. The fields
    are the keys of the JSON file that keeps the result.
    """

    set: str
    file: str
    contender: str
    seed: int
    asked: str
    measures: dict[str, float]
    seconds: float
    missed: float | None = None


CONTENDERS = (*NETWORKS, *ENSEMBLES, *DETECTOR_BASELINES)


def results_of_file(task: FileTask, requested: list[str], *, fresh: bool) -> list[DetectionBenchmark]:
    """Return the results of a file, finished ones and new ones; a detector is trained with all seeds at once."""
    results, planned = [], None
    for contender in CONTENDERS:
        if task.set == "met-mast" and contender not in (*KINDS, "ensemble", *DETECTOR_BASELINES):
            continue  # its windows are of one step
        finished = [
            done
            for seed in SEEDS
            if (done := _finished(task, contender, seed)) and not (fresh and contender in requested)
        ]
        if contender in requested and len(finished) < len(SEEDS):
            planned = planned or task.plan()
            run = _run_network if contender in NETWORKS else _run_ensemble if contender in ENSEMBLES else _run_baseline
            finished = list(run(task, planned, contender))
            key = "failure_auc" if task.set == "met-mast" else "auc_pr"
            mean = statistics.fmean(done.measures[key] for done in finished)
            print(f"{task.set} {task.file} {contender}: {key} {mean:.3f}, {finished[0].seconds:.1f} s", flush=True)
        results += finished
    return results


def _run_network(task: FileTask, planned: Plan, name: str) -> Iterator[DetectionBenchmark]:
    """Train the runs of one detector as `gridcast run` does."""
    from gridcast.training import fused_fit  # noqa: PLC0415 - Keras, once its backend is started

    runs = [
        run
        for run in planned.runs.values()
        if (run.configuration.detector, run.configuration.scaling) == NETWORKS[name]
    ]
    started = time.perf_counter()
    trained = fused_fit.train(planned.dataset, runs, state_paths=[None] * len(runs), siblings=len(runs))
    for run, result in zip(runs, trained, strict=True):
        assert not isinstance(result, Exception), result
        scores = _detector_scores(planned, loading.load_from_bytes(result.files))
        seconds = (time.perf_counter() - started) / len(runs)
        missed = result.metrics["val_faults_missed"]
        yield _record(task, planned, name, run.seed, scores, seconds=seconds, missed=missed)


def _run_ensemble(task: FileTask, planned: Plan, name: str) -> Iterator[DetectionBenchmark]:
    """Train and combine as many runs as `selection.ensemble` does."""
    from gridcast.training import calibration, fused_fit  # noqa: PLC0415 - Keras, once its backend is started

    started, (networks, combine) = time.perf_counter(), ENSEMBLES[name]
    members_by_seed: dict[int, list[dict[str, bytes]]] = {seed: [] for seed in SEEDS}
    for network, count in networks.items():
        kind, scaling = NETWORKS[network]
        content = task.content | {"grid": {"detector": [kind], "scaling": [scaling]}}
        content["training"] = content["training"] | {"seeds": list(range(count * len(SEEDS)))}
        runs = list(dataclasses.replace(task, content=content).plan().runs.values())
        trained = fused_fit.train(planned.dataset, runs, state_paths=[None] * len(runs), siblings=len(runs))
        for seed in SEEDS:
            members_by_seed[seed] += [result.files for result in trained[seed * count :][:count]]
    for seed, members in members_by_seed.items():
        result = calibration.calibrate_ensemble(planned.dataset, ensemble.pack_members(members, None, combine))
        detector = loading.load_from_bytes(result.files)
        scores = _detector_scores(planned, detector)
        seconds = (time.perf_counter() - started) / len(SEEDS)
        if combine == MINIMUM:  # unlike a geometric mean, a minimum depends on the units of the members
            scores = {rule: _detector_scores(planned, _with_rule(planned, detector, rule))[rule] for rule in FIXED}
        missed = result.metrics["val_faults_missed"]
        yield _record(task, planned, name, seed, scores, seconds=seconds, missed=missed)


def _run_baseline(task: FileTask, planned: Plan, name: str) -> Iterator[DetectionBenchmark]:
    """Fit the baseline to all steps before the test."""
    dataset = planned.dataset
    values, spans, lookback = dataset.channels[0], dataset.spans, dataset.preprocessing.lookback
    for seed in SEEDS:
        started = time.perf_counter()

        def contribute(steps: np.ndarray, seed: int = seed) -> np.ndarray:
            return DETECTOR_BASELINES[name](values[: spans.validation], steps, lookback=lookback, seed=seed)

        scores = _scores_by_rule(contribute, values, planned)
        yield _record(task, planned, name, seed, scores, seconds=time.perf_counter() - started)


def _with_rule(planned: Plan, detector: Detector, rule: str) -> Detector:
    """The ensemble with thresholds of its members, which are the units of their scores, by `rule`."""
    members = []
    for member in detector.members:
        before, _ = _detector_scores(planned, member)[rule]
        members.append(dataclasses.replace(member, threshold=thresholds.fit_threshold(before, rule)))
    return dataclasses.replace(detector, members=tuple(members))


def _detector_scores(planned: Plan, detector: Detector) -> Scores:
    values = scaled_values(detector.preprocessing, planned.dataset.target.T)
    return _scores_by_rule(detector.contributions, values, planned)


def _scores_by_rule(contribute: detection_results.ContributionFunction, values: np.ndarray, planned: Plan) -> Scores:
    """Scores of all steps before the test and of those in it, the same for every rule."""
    spans, lookback = planned.dataset.spans, planned.dataset.preprocessing.lookback
    before, test = (
        events.anomaly_score(detection_results.span_contributions(contribute, values, span, lookback))
        for span in ((spans.start, spans.validation), spans["test"])
    )
    return dict.fromkeys(RULES, (before, test))


def _record(
    task: FileTask,
    planned: Plan,
    contender: str,
    seed: int,
    scores: Scores,
    *,
    seconds: float,
    missed: float | None = None,
) -> DetectionBenchmark:
    """Measure the `scores` and write the result; the scores of all rows are kept in units of each threshold too."""
    panel, anomaly = planned.panel, planned.experiment.anomaly
    (start, end), (before, score) = panel.spans["test"], scores[RULES[0]]
    limits = {rule: _limits(*of_rule, rule) for rule, of_rule in scores.items()}
    if ENSEMBLES.get(contender, ({}, ""))[1] == MINIMUM:
        limits = {rule: np.ones(end - start) for rule in scores}  # the thresholds are those of its members
    if task.set == "met-mast":
        limit = _limits(before, score, anomaly.threshold, anomaly.level)
        metrics = _metrics_on_mast(panel.times[start:end], score, limit)
    else:
        metrics = {}
        for rule in reversed(scores):
            of_rule = detection_metrics.all_metrics(
                scores[rule][1],
                limits[rule],
                panel.labels[start:end],
                steps_per_day=planned.dataset.steps_per_day,
                min_steps=anomaly.min_steps,
                merge_gap=anomaly.merge_gap,
            )
            metrics |= of_rule if rule == RULES[0] else {f"event_f1 {rule}": of_rule["event_f1"]}
        metrics = {key: value for key, value in metrics.items() if np.isfinite(value)}
    digest = _settings_digest(task)
    done = DetectionBenchmark(task.set, task.file, contender, seed, digest, metrics, seconds, missed)
    columns = {"score": score} | {rule: scores[rule][1] / limit for rule, limit in limits.items()}
    rows = {key: np.concatenate([np.full(start, np.nan), column])[task.rows] for key, column in columns.items()}
    np.savez_compressed(result_path(task, contender, seed, ".npz"), labels=panel.labels[task.rows], **rows)
    result_path(task, contender, seed).write_text(json.dumps(dataclasses.asdict(done), indent=1) + "\n")
    return done


def _limits(before: np.ndarray, score: np.ndarray, rule: str, level: float | None = None) -> np.ndarray:
    """The threshold of each step of the test, as a detector with this rule has it."""
    first, history = thresholds.fit_threshold_with_history(before, rule, level)
    return running_threshold.thresholds(score, first, threshold_rules.checked_level(rule, level), history)


def _metrics_on_mast(times: pd.DatetimeIndex, score: np.ndarray, threshold: np.ndarray) -> dict[str, float]:
    """AUC of failures, and of icing, against normal steps, and false alarms per day."""
    flags = pd.read_parquet(windows.DATA / "met-mast.parquet", columns=["time", "failure", "icing"])
    flags = flags.set_index("time").reindex(times, fill_value=False)
    failure, icing = flags["failure"].to_numpy(bool), flags["icing"].to_numpy(bool)
    spans = [np.asarray((times >= first) & (times < end)) for first, end in TESTED]
    tested = np.isfinite(score) & np.any(spans, axis=0)
    normal = tested & ~failure & ~icing

    def auc(positive: np.ndarray) -> float:
        rows = normal | (positive & tested)
        return float(roc_auc_score(positive[rows], score[rows]))

    alarms = len(events.spans((score > threshold) & normal))
    metrics = {"failure_auc": auc(failure & ~icing), "icing_auc": auc(icing & ~failure)}
    for name, span in zip(("first_auc", "late_auc"), spans, strict=True):
        metrics[name] = auc(failure & ~icing & span)
    return metrics | {"false_alarms_per_day": alarms * 144 / normal.sum()}


def _settings_digest(task: FileTask) -> str:
    """Digest of all that decides a result except code: the experiment without the path of its file, and its scoring."""
    settings = task.content | {
        "data": {**task.content["data"], "source": "", "labels": ""},
        "semantics": grid.DETECTION_SEMANTICS,
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _finished(task: FileTask, contender: str, seed: int) -> DetectionBenchmark | None:
    """The result on disk, if it has the same settings."""
    path = result_path(task, contender, seed)
    if not path.exists():
        return None
    done = DetectionBenchmark(**json.loads(path.read_text()))
    return done if done.asked == _settings_digest(task) else None


def result_path(task: FileTask, contender: str, seed: int, suffix: str = ".json") -> Path:
    """Return the path of a result, or with the suffix `.npz` that of its scores."""
    return RESULTS / "anomalies" / f"{task.set}-{task.file}-{contender.replace(' ', '-')}-{seed}{suffix}"
