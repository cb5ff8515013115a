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
from gridcast.runtime import events, loading, online, running_threshold
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
RAISED = " raised"
"""Suffix of scores that stand at the step at which they are known."""
TESTED = (("2016-11-01", "2017-04-01"), ("2017-08-01", "2018-01-01"))
"""Test spans of the mast, first day and the day after the last."""


ONLINE, AT_ONCE, HINDSIGHT = "", "at once ", "hindsight "
"""Prefixes of metrics: of a follower who waits as long as `gridcast detect`, of one who does not, and in hindsight."""


@dataclass(frozen=True)
class ViewedScores:
    """By threshold rule, the scores of all steps before the test and of those in the test, known `wait` steps later.

    In hindsight they count as known at once, as version 0.1 had it.
    """

    wait: int
    by_rule: dict[str, tuple[np.ndarray, np.ndarray]]


Scores = dict[str, ViewedScores]
"""By view: online, at once, in hindsight."""


@dataclass(frozen=True)
class DetectionBenchmark:
    """One contender on one file with one seed; its scores are in an .npz file beside it.

    `asked` is the digest of the settings, see `_settings_digest`, `missed` the metric
    `val_online_faults_missed`. The fields are the keys of the JSON file that keeps the result.
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
        missed = result.metrics["val_online_faults_missed"]
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
            by_rule = {rule: _detector_scores(planned, _with_rule(planned, detector, rule)) for rule in FIXED}
            scores = {
                view: ViewedScores(one.wait, {rule: by_rule[rule][view].by_rule[rule] for rule in FIXED})
                for view, one in scores.items()
            }
        missed = result.metrics["val_online_faults_missed"]
        yield _record(task, planned, name, seed, scores, seconds=seconds, missed=missed)


def _run_baseline(task: FileTask, planned: Plan, name: str) -> Iterator[DetectionBenchmark]:
    """Fit the baseline to all steps before the test."""
    dataset = planned.dataset
    for seed in SEEDS:
        started = time.perf_counter()
        detector = detection_results.simple_detector(name, dataset, end=dataset.spans.validation, seed=seed)
        scores = _detector_scores(planned, detector)
        yield _record(task, planned, name, seed, scores, seconds=time.perf_counter() - started)


def _with_rule(planned: Plan, detector: Detector, rule: str) -> Detector:
    """The ensemble with thresholds of its members, which are the units of their scores, by `rule`."""
    members, dataset = [], planned.dataset
    anomaly = planned.experiment.anomaly.model_copy(update={"threshold": rule, "level": None})
    for member in detector.members:
        final, after = detection_results.thresholds_before_test(
            member.contributions_after,
            scaled_values(member.preprocessing, dataset.target.T),
            dataset.spans,
            lookback=member.lookback,
            anomaly=anomaly,
            waits=online.calibrated_waits(member.wait, member.settling),
        )
        members.append(dataclasses.replace(member, threshold=final.threshold, online=after))
    return dataclasses.replace(detector, members=tuple(members))


def _detector_scores(planned: Plan, detector: Detector) -> Scores:
    values = scaled_values(detector.preprocessing, planned.dataset.target.T)
    return _scores_by_rule(detector.contributions_after, values, planned, detector.wait)


def _scores_by_rule(
    contribute: detection_results.ContributionsAfter, values: np.ndarray, planned: Plan, wait: int
) -> Scores:
    """Scores of all steps before the test and of those in it, the same for every rule."""
    spans, lookback = planned.dataset.spans, planned.dataset.preprocessing.lookback
    views: dict[str, int | None] = {ONLINE: wait, AT_ONCE: 0, HINDSIGHT: None}
    before, test = (
        detection_results.span_contributions_after(
            contribute, values, span, lookback=lookback, waits=tuple(views.values())
        )
        for span in ((spans.start, spans.validation), spans["test"])
    )
    return {
        view: ViewedScores(steps or 0, dict.fromkeys(RULES, tuple(map(events.anomaly_score, both))))
        for (view, steps), *both in zip(views.items(), before, test, strict=True)
    }


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
    start = planned.panel.spans["test"][0]
    metrics, columns = {}, {}
    for view, viewed in scores.items():
        measured, ratios = _measure_view(task, planned, contender, viewed)
        metrics |= {view + key: value for key, value in measured.items() if np.isfinite(value)}
        columns |= {view + key: column for key, column in ratios.items()}
    done = DetectionBenchmark(task.set, task.file, contender, seed, _settings_digest(task), metrics, seconds, missed)
    rows = {key: np.concatenate([np.full(start, np.nan), column])[task.rows] for key, column in columns.items()}
    np.savez_compressed(result_path(task, contender, seed, ".npz"), labels=planned.panel.labels[task.rows], **rows)
    result_path(task, contender, seed).write_text(json.dumps(dataclasses.asdict(done), indent=1) + "\n")
    return done


def _measure_view(
    task: FileTask, planned: Plan, contender: str, viewed: ViewedScores
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Metrics of one view, and its scores by step and by the step at which they are known, in units of thresholds."""
    panel, anomaly, scores = planned.panel, planned.experiment.anomaly, viewed.by_rule
    start, end = panel.spans["test"]
    limits = {rule: _limits(*of_rule, rule) for rule, of_rule in scores.items()}
    if ENSEMBLES.get(contender, ({}, ""))[1] == MINIMUM:
        limits = {rule: np.ones(end - start) for rule in scores}  # the thresholds are those of its members
    if task.set == "met-mast":
        before, score = scores[RULES[0]]
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
                known_at=np.arange(end - start) + viewed.wait,
            )
            by_threshold = ("event_f1", "delay_steps")
            metrics |= of_rule if rule == RULES[0] else {f"{key} {rule}": of_rule[key] for key in by_threshold}
    ratios = {rule: scores[rule][1] / limit for rule, limit in limits.items()}
    return metrics, ratios | {f"{rule}{RAISED}": _when_known(ratio, viewed.wait) for rule, ratio in ratios.items()}


def _when_known(ratio: np.ndarray, wait: int) -> np.ndarray:
    """The `ratio` (steps,) at the steps at which it is known: alarms are raised there, and the last ones later."""
    return np.concatenate([np.full(wait, np.nan), ratio])[: len(ratio)]


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
        "scores": "online",  # version 0.1 measured in hindsight
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
