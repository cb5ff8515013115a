"""False alarms and delays on ten simulated plants, with a promise of few false alarms and with other thresholds.

    .venv/bin/python benchmarks/false_alarms.py [--plants 5] [--days 30]

Each plant runs for 30 days, half of the plants with one sensor, half with six. Detectors are fitted to the first 22.5
days, which have no fault; a small network trains for seconds. In the last 7.5 days the same readings are scored twice:
without any fault, where each alarm is false, and with all kinds of faults, for the events found and their delay.

Scores are online: those that `gridcast detect` records, and a delay ends when the alarm is raised. "hand-set" is what
the experiments of these plants had before there were promises: mean-std at level 6 (one sensor) or 12 (six), at least 3
steps, merged over 15. "promised" is the number of alarms that the promise allows in these days; the interval is that of
the false alarms per week, exact for alarms at random (Poisson), at 95 %. A promise is kept where the promised rate is
not below this interval. The delay is the mean over the events that both the rule and the hand-set one find, beside that
of the hand-set one, with the change.

Prints a table and writes benchmarks/results/false_alarms.json; `--record` writes benchmarks/recorded/false_alarms.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import measure
import numpy as np
import yaml

from gridcast import config
from gridcast.config.sections import Anomaly
from gridcast.config.threshold_rules import DEFAULT_LEVELS, checked_level
from gridcast.data import simulation
from gridcast.evaluation import detection_metrics, detection_results
from gridcast.evaluation.promised_threshold import rate_interval
from gridcast.runtime import events, loading, running_threshold
from gridcast.runtime.detector import Detector, scaled_values
from gridcast.sweep import plan
from gridcast.training import keras_backend

HERE = Path(__file__).parent.absolute()
FIRST_SEED = 200
LOOKBACK = 10
SIMPLE = ("PCA", "sub-window PCA")
HAND_SET = "hand-set"
HAND_LEVELS = {"univariate": 6.0, "multivariate": 12.0}
PROMISES = {
    "1 per week": Anomaly(false_alarms="1 per week", merge_gap=LOOKBACK),
    "1 per week, running": Anomaly(false_alarms="1 per week", threshold="running", merge_gap=LOOKBACK),
    "1 per day": Anomaly(false_alarms="1 per day", merge_gap=LOOKBACK),
}
RULES = (HAND_SET, *PROMISES, *DEFAULT_LEVELS)


@dataclass(frozen=True)
class PlantScores:
    """The online scores of a detector on a plant: `before` the test (steps,), and in it without and with faults.

    `labels` (steps,) are True in a fault, `known_at` (steps,) is the step at which a score with faults is known.
    """

    kind: str
    detector: str
    before: np.ndarray
    clean: np.ndarray
    faulty: np.ndarray
    labels: np.ndarray
    known_at: np.ndarray
    train: int


@dataclass(frozen=True)
class Outcome:
    """False `alarms` in `days` days without faults, and the delay in steps of each of the events with faults found."""

    alarms: int
    days: float
    delays: dict[tuple[int, int], float]
    events: int


def main() -> None:
    """Score the plants, apply each rule, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plants", type=int, default=5, help="plants of each kind")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--record", action="store_true", help="keep the figures with the source")
    arguments = parser.parse_args()
    keras_backend.start("jax", HERE.parent / ".gridcast" / "cache")
    scored = [
        one
        for kind in simulation.PLANT_KINDS
        for seed in range(FIRST_SEED, FIRST_SEED + arguments.plants)
        for one in plant_scores(kind, seed, arguments.days)
    ]
    rows = [row for name in ("reconstruction", *SIMPLE) for row in table_rows(name, scored)]
    columns = ["detector", "rule", "promised", "false alarms", "a week", "kept", "found", "delay", "hand-set", "change"]
    print(measure.aligned([tuple(columns), *(tuple(map(_text, row.values())) for row in rows)]))
    (HERE / "results").mkdir(exist_ok=True)
    for folder in ("results", *(("recorded",) if arguments.record else ())):
        content = {"plants": 2 * arguments.plants, "days": arguments.days, "rows": rows}
        (HERE / folder / "false_alarms.json").write_text(json.dumps(content, indent=1) + "\n")


def plant_scores(kind: str, seed: int, days: int) -> Iterator[PlantScores]:
    """Yield the scores of each detector on the plant of a kind and a seed."""
    from gridcast.training import fused_fit  # noqa: PLC0415 - Keras, once its backend is started

    steps = days * simulation.STEPS_PER_DAY
    clean, _ = simulation.simulate_plant(kind, steps, seed, anomalies=False)
    faulty, labels = simulation.simulate_plant(kind, steps, seed)
    marks, sensors = simulation.labelled_steps(faulty, labels), [name for name in clean if name != "time"]
    text = yaml.safe_dump(_experiment(sensors))
    made = plan.make_plan(config.parse(text), text, "jax", frame=faulty.assign(anomaly=marks.astype(int)))
    (trained,) = fused_fit.train(made.dataset, list(made.runs.values()), state_paths=[None], siblings=1)
    assert not isinstance(trained, Exception), trained
    detectors = {"reconstruction": loading.load_from_bytes(trained.files)}
    detectors |= {name: detection_results.simple_detector(name, made.dataset) for name in SIMPLE}
    for name, detector in detectors.items():
        values = scaled_values(detector.preprocessing, clean[sensors].to_numpy(float))
        spans, test = made.dataset.spans, made.dataset.spans["test"]
        first = max(0, test[0] - detector.lookback)
        known_at = detector.known_at(made.dataset.channels[0, first:], detector.wait)[test[0] - first :]
        yield PlantScores(
            kind,
            name,
            before=_scores(detector, values, (spans.start, spans.validation)),
            clean=_scores(detector, values, test),
            faulty=_scores(detector, made.dataset.channels[0], test),
            labels=marks[test[0] :],
            known_at=known_at - (test[0] - first),
            train=spans.train,
        )


def outcome(scored: PlantScores, rule: str) -> Outcome:
    """Return what `rule` makes of the scores of a plant."""
    anomaly = rule_of(rule, scored.kind)
    rate = anomaly.promised_per_day
    promise = None if rate is None else rate / simulation.STEPS_PER_DAY
    start = scored.train if anomaly.threshold == "conformal" else 0
    threshold, seen = detection_results.fit_rule(scored.before[start:], anomaly, promise)
    level = checked_level(anomaly.threshold, anomaly.level)
    if seen is not None and promise is not None:
        level = seen.level_of(threshold)

    def flags(scores: np.ndarray) -> np.ndarray:
        return np.asarray(scores > running_threshold.thresholds(scores, threshold, level, seen))

    options = {"min_steps": anomaly.min_steps, "merge_gap": anomaly.merge_gap}
    delays, faults = {}, [(int(first), int(end)) for first, end in events.spans(scored.labels)]
    for first, end in faults:
        label = np.zeros(len(scored.labels), bool)
        label[first:end] = True
        found = detection_metrics.detection_delays(flags(scored.faulty), label, known_at=scored.known_at, **options)
        if len(found):
            delays[first, end] = float(found[0])
    alarms = len(events.spans(flags(scored.clean), anomaly.min_steps, anomaly.merge_gap))
    return Outcome(alarms, np.isfinite(scored.clean).sum() / simulation.STEPS_PER_DAY, delays, len(faults))


def rule_of(rule: str, kind: str) -> Anomaly:
    """Return the settings of a rule: a promise, the hand-set threshold, or a rule at its default level."""
    if rule == HAND_SET:
        return Anomaly(threshold="mean-std", level=HAND_LEVELS[kind], min_steps=3, merge_gap=15)
    return PROMISES.get(rule) or Anomaly(threshold=rule, merge_gap=LOOKBACK)


def table_rows(detector: str, scored: list[PlantScores]) -> Iterator[dict[str, object]]:
    """Yield a row for each rule, over all plants together."""
    plants = [one for one in scored if one.detector == detector]
    hand = [outcome(one, HAND_SET) for one in plants]
    for rule in RULES:
        outcomes = [outcome(one, rule) for one in plants]
        alarms, days = sum(one.alarms for one in outcomes), sum(one.days for one in outcomes)
        promised = rule_of(rule, "univariate").promised_per_day
        low, high = rate_interval(alarms, days)
        pairs = [
            (one.delays[fault], other.delays[fault])
            for one, other in zip(outcomes, hand, strict=True)
            for fault in one.delays.keys() & other.delays.keys()
        ]
        delay, hand_delay = np.mean(pairs, axis=0) if pairs else (np.nan, np.nan)
        yield {
            "detector": detector,
            "rule": rule,
            "promised": None if promised is None else round(promised * days, 1),
            "alarms": alarms,
            "a week": f"{7 * low:.2f} to {7 * high:.2f}",
            "kept": None if promised is None else bool(promised >= low),
            "found": f"{sum(len(one.delays) for one in outcomes)} of {sum(one.events for one in outcomes)}",
            "delay": round(float(delay), 1),
            "hand-set delay": round(float(hand_delay), 1),
            "change": round(float(delay / hand_delay - 1), 3),
        }


def _scores(detector: Detector, values: np.ndarray, span: tuple[int, int]) -> np.ndarray:
    (contributions,) = detection_results.span_contributions_after(
        detector.contributions_after, values, span, lookback=detector.lookback, waits=(detector.wait,)
    )
    return events.anomaly_score(contributions)


def _experiment(sensors: list[str]) -> dict[str, object]:
    latent = 2 if len(sensors) == 1 else 4
    network = {"layer": "GRU", "units": 8, "latent": latent, "dropout": 0.0, "learning_rate": 0.01, "batch_size": 128}
    return {
        "version": 1,
        "name": "plant",
        "task": "anomaly",
        "data": {"source": "plant.csv", "time": "time", "sensors": sensors, "labels": "anomaly", "frequency": "min"},
        "window": {"lookback": LOOKBACK},
        "split": {"train": 0.6, "validation": 0.15, "test": 0.25},
        "baseline": network,
        "grid": {"detector": ["reconstruction"]},
        "training": {"epochs": 6, "patience": 6, "steps": 60},
    }


def _text(value: object) -> str:
    if value is None:
        return "-"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    main()
