"""gridcast's detectors and its baselines on parts of SKAB and NAB, on made-up plants, and on the failures of a mast.

    .venv/bin/python benchmarks/anomalies.py [--sets NAME ...] [--run NAME ...] [--fresh] [--data FOLDER]

Every file is a task of its own. What is before its test is all that anything is fitted to, thresholds
too, and no label is read there:

- skab: the first 400 rows of each file, of 23 of its 34 (valve1, and the odd ones of other), as its own
  notebooks have it; its file without anomalies is of another state of the plant, and not used.
- nab: the first 15 % of each file, 750 rows at most, which NAB calls probationary, of 10 of its 58 files.
- simulated: five plants of one sensor and five of six, as `gridcast simulate sensors` makes them, their last quarter.
- met-mast: `experiments/met_mast.yaml`, 2016-01-10 to 2016-10-31 without flagged rows. The test is
  2016-11 to 2017-03 and 2017-08 to the end; icing is no failure and no normal step, and told apart.

A network keeps the last fifth of these rows, the mast October, as its validation, for the best epoch; baselines
choose nothing, so they are fitted to all of them. Settings stand in `grids/anomalies`; they were chosen by
`val_faults_missed`, which sees no test. "chosen" is the one that it takes in each file, but for an agreement.
"ensemble" is one of five encodings, which differ in their seeds; "four kinds" is one of an encoding, which knows how
sensors go together, a centred prediction, which knows what changes, and a prediction and a reconstruction in units of
the window's spread, which know what changes more than it did just before: their geometric mean. "agreement" is one of
three predictions, one in each scaling, and of that reconstruction: their minimum, an alarm where each alone is one.

A step is anomalous where its score lies above the threshold, which is taken, for all contenders alike, from their own
scores before the test: by mean-std, the default (the mean plus three standard deviations), by lognormal (the same of
their logarithms), by quantile (at most 0.1 % of them above it: of less than 1,000 scores the largest), and, apart, by
running (lognormal at each step from all scores before it, those of the test too). Lognormal and running, and which
kinds go together, were thought of with the labels of SKAB and NAB in view; the made-up plants had no part in it.

Measured is the test span alone, without point adjustment; AUC-PR, VUS-PR and event F1 are means over the files, and
all over the seeds. NAB is the score of its standard profile over all files, each row above the threshold an alarm;
"NAB best" takes the level, one for all files in units of their thresholds, that is best on the test, as NAB itself has
it for its scoreboard. SKAB's and the plants' windows are their labelled stretches. "F1" and "FAR" count rows of whole
files, all files together, by mean-std, as SKAB's leaderboard does, where an LSTM autoencoder has 0.68 and 14 % on all
34 files.
In three files of NAB stamps stand twice; the first row of a stamp is taken for all.

gridcast trains in this process, the seeds of a detector abreast, by the functions that `gridcast run` calls: sweeps
of seconds would measure MLflow. The seconds are those of fitting, threshold and scores of one seed, compilation
included where it was not kept. Prints tables and writes benchmarks/results/anomalies.json. What is finished lies in
results/anomalies: it is told again, not run again, while it is asked the same; --fresh runs it again.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measure
import numpy as np
import pandas as pd
import sets
import yaml
from peers import windows
from sklearn.metrics import roc_auc_score

import sweep
from gridcast import config
from gridcast.config import grid, threshold_rules
from gridcast.data import simulation
from gridcast.evaluation import detection_metrics, detection_results, thresholds
from gridcast.models.baselines.detectors import DETECTORS
from gridcast.runtime import events, loading, running_threshold
from gridcast.runtime.detector import MINIMUM, Detector, scaled_values
from gridcast.sweep import ensemble, plan
from gridcast.sweep.plan import Plan
from gridcast.training import keras_backend

HERE = Path(__file__).parent.absolute()
EXPERIMENTS, RESULTS = HERE / "grids" / "anomalies", HERE / "results"
MAST = HERE.parent / "experiments" / "met_mast.yaml"
SEEDS = (0, 1, 2)
KINDS, SCALINGS = ("reconstruction", "prediction", "both", "encoding"), ("none", "centred", "standard")
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
"""So many networks of these, and how they are combined; of five the seeds are 0 to 4 for seed 0, 5 to 9 for 1, 10 to 14
for 2.
"""
CHOSEN = "chosen"
FIXED = ("mean-std", "lognormal", "quantile")
RULES = (*FIXED, threshold_rules.RUNNING)
"""Of thresholds; the first is that of the experiments, and its measures have no name of their own."""
PLANTS = range(100, 105)
"""Seeds of made-up plants."""
VALIDATED = 0.2
"""Share of the rows before the test that networks keep as validation."""
TESTED = (("2016-11-01", "2017-04-01"), ("2017-08-01", "2018-01-01"))
"""Of the mast."""


Scores = dict[str, tuple[np.ndarray, np.ndarray]]
"""By each of the rules, those of all steps before the test, and of those in it."""


@dataclass(frozen=True)
class Task:
    """One file: the experiment on it, and the step of each of its rows, from the first row of the file."""

    set: str
    file: str
    content: dict[str, Any]
    rows: np.ndarray

    def plan(self) -> Plan:
        """The experiment on its data."""
        text = yaml.safe_dump(self.content, sort_keys=False)
        return plan.make_plan(config.parse(text), text, "jax", windows.DATA)


@dataclass(frozen=True)
class Result:
    """One contender on one file with one seed; scores lie beside it in an .npz file.

    `asked` tells all that the contender was asked, `missed` what it misses of faults put into the validation span.
    """

    set: str
    file: str
    contender: str
    seed: int
    asked: str
    measures: dict[str, float]
    seconds: float
    missed: float | None = None


def skab(data: Path) -> Iterator[Task]:
    """The files of valve1 and other."""
    content = yaml.safe_load((EXPERIMENTS / "skab.yaml").read_text(encoding="utf-8"))
    for path in sorted([*(data / "skab" / "valve1").glob("*.csv"), *(data / "skab" / "other").glob("*.csv")]):
        steps = len(pd.read_csv(path, sep=";", usecols=["datetime"]))
        yield Task("skab", f"{path.parent.name}-{path.stem}", _on(content, path, steps, 400), np.arange(steps))


def nab(data: Path) -> Iterator[Task]:
    """The files of realTraffic and realKnownCause that are there."""
    content, labels = yaml.safe_load((EXPERIMENTS / "nab.yaml").read_text(encoding="utf-8")), data / "nab"
    content["data"]["labels"] = str(labels / "combined_windows.json")
    for path in sorted(labels.glob("*/*.csv")):
        table = pd.read_csv(path)
        rows, stamps = pd.factorize(table["timestamp"])
        begun = min(int(detection_metrics.PROBATION * len(rows)), detection_metrics.LONGEST)
        yield Task("nab", path.stem, _on(content, path, len(stamps), int(rows[begun])), rows)


def simulated(_: Path) -> Iterator[Task]:
    """Plants of either kind."""
    content = yaml.safe_load((EXPERIMENTS / "simulated.yaml").read_text(encoding="utf-8"))
    steps = 14 * simulation.DAY
    for kind in simulation.KINDS:
        for seed in PLANTS:
            readings, labels = simulation.simulate(kind, steps, seed)
            path = RESULTS / "anomalies" / f"{kind}-{seed}.csv"
            readings.assign(anomaly=simulation.flags(readings, labels).astype(int)).to_csv(path, index=False)
            own = _on(content, path, steps, int(simulation.CLEAN * steps))
            sensors = [name for name in readings if name != "time"]
            yield Task("simulated", path.stem, own | {"data": own["data"] | {"sensors": sensors}}, np.arange(steps))


def mast(data: Path) -> Iterator[Task]:
    """The one experiment, with seeds; its grid is the detectors alone."""
    content = yaml.safe_load(MAST.read_text(encoding="utf-8"))
    content["training"]["seeds"] = list(SEEDS)
    content["grid"] = {"detector": list(KINDS)}
    content["data"]["select"]["start"] = str(content["data"]["select"]["start"])
    yield Task("met-mast", "mast", content, np.zeros(0, int))


SETS: dict[str, Callable[[Path], Iterator[Task]]] = {"skab": skab, "nab": nab, "simulated": simulated, "met-mast": mast}
CONTENDERS = (*NETWORKS, *ENSEMBLES, *DETECTORS)


def main() -> None:
    """Measure what the command line asks for and is not finished yet."""
    arguments = _arguments()
    about = {"machine": sweep.machine(), "started": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    (RESULTS / "anomalies").mkdir(parents=True, exist_ok=True)
    keras_backend.start("jax", HERE.parent / ".gridcast" / "cache")
    told = {}
    for name in arguments.sets:
        found, tasks = [], list(SETS[name](arguments.data))
        if not tasks:
            print(f"{name}: skipped, {arguments.data / name} is not there", flush=True)
            continue
        for task in tasks:
            found += _of(task, arguments.run, fresh=arguments.fresh)
        told[name] = summary(name, tasks, found)
        print(f"\n{name}: {len(tasks)} files\n{table(told[name], COLUMNS[name == 'met-mast'])}", flush=True)
        if name != "met-mast":
            for rule in RULES[1:]:
                judged = {f"{key} {rule}": title for key, title in JUDGED.items()}
                print(f"\n{name}, by a {rule} threshold\n{table(told[name], judged)}", flush=True)
            print(f"\n{name}, the best of each side by a threshold that is fixed\n{sides(told[name], FIXED)}")
            print(f"\n{name}, the best of each side by any of these\n{sides(told[name], RULES)}", flush=True)
        (RESULTS / "anomalies.json").write_text(json.dumps({**about, "summary": told}, indent=1) + "\n")


def summary(name: str, tasks: list[Task], found: list[Result]) -> dict[str, dict[str, float]]:
    """Of each contender the mean of each measure, and over all files what cannot be a mean of files."""
    told = {}
    for contender in (*NETWORKS, *ENSEMBLES, CHOSEN, *DETECTORS):
        own = [done for done in found if done.contender == contender]
        if contender == CHOSEN:  # of thresholds, which an agreement is about, its measure knows nothing
            own = chosen([done for done in found if done.contender != "agreement"])
        if not own:
            continue
        rows = [done.measures | {"seconds": done.seconds} for done in own]
        keys = dict.fromkeys(key for row in rows for key in row)
        told[contender] = {key: statistics.fmean(row[key] for row in rows if key in row) for key in keys}
        if name != "met-mast":
            seeds = [_together(tasks, [done for done in own if done.seed == seed]) for seed in SEEDS]
            told[contender] |= {key: statistics.fmean(one[key] for one in seeds) for key in seeds[0]}
    return told


def chosen(found: list[Result]) -> list[Result]:
    """Of each file and seed the result of the detector that misses least of the faults put into validation."""
    best: dict[Any, Result] = {}
    for done in found:
        if done.missed is not None:
            known = best.setdefault((done.file, done.seed), done)
            best[done.file, done.seed] = min(known, done, key=lambda one: one.missed)
    return list(best.values())


JUDGED = {"nab": "NAB", "nab_best": "NAB best", "event_f1": "event F1"}
"""What depends on the threshold."""
COLUMNS: tuple[dict[str, str], ...] = (
    {"auc_pr": "AUC-PR", "vus_pr": "VUS-PR", **JUDGED, "f1_rows": "F1", "far_rows": "FAR", "seconds": "seconds"},
    {
        "failure_auc": "failure AUC",
        "first_auc": "2016/17",
        "late_auc": "late 2017",
        "icing_auc": "icing AUC",
        "false_alarms_per_day": "false alarms a day",
        "seconds": "seconds",
    },
)
"""Of files with labels, and of the mast."""


def table(told: dict[str, dict[str, float]], columns: dict[str, str]) -> str:
    """The summary as aligned text."""
    lines = [("", *columns.values())]
    for contender, row in told.items():
        figures = [_figure(key, row[key]) if key in row else "-" for key in columns]
        lines.append((f"  {'gridcast, ' if contender not in DETECTORS else ''}{contender}", *figures))
    return measure.aligned(lines)


def sides(told: dict[str, dict[str, float]], rules: tuple[str, ...]) -> str:
    """Of each measure the best of gridcast's detectors and of the baselines, and which one by which of the `rules`."""
    lines = [("", "gridcast", "", "baselines", "")]
    for key, title in {"auc_pr": "AUC-PR", "vus_pr": "VUS-PR", **JUDGED}.items():
        names = [key, *(f"{key} {rule}" for rule in rules[1:])] if key in JUDGED else [key]
        found: list[str] = []
        for own in ([name for name in told if name not in DETECTORS], [name for name in told if name in DETECTORS]):
            best, by = max((told[name][one], (name, one)) for name in own for one in names if one in told[name])
            rule = by[1].removeprefix(key).strip() or (RULES[0] if key in JUDGED else "")
            found += [_figure(key, best), f"{by[0]}{', ' if rule else ''}{rule}"]
        lines.append((f"  {title}", *found))
    return measure.aligned(lines)


def _figure(key: str, value: float) -> str:
    return f"{value:.{1 if key.startswith('nab') or key == 'seconds' else 3}f}"


def _on(content: dict[str, Any], path: Path, steps: int, before: int) -> dict[str, Any]:
    """The experiment on the file at `path`, of so many `steps`, of which those `before` the test come first."""
    train, validation = before * (1 - VALIDATED) / steps, before * VALIDATED / steps
    split = {"train": train, "validation": validation, "test": 1 - train - validation}
    return content | {"data": content["data"] | {"source": str(path)}, "split": split}


def _of(task: Task, wanted: list[str], *, fresh: bool) -> list[Result]:
    """The results of a file, those kept and those made now; a detector is trained with all seeds at once."""
    found, planned = [], None
    for contender in CONTENDERS:
        kept = [
            done for seed in SEEDS if (done := _kept(task, contender, seed)) and not (fresh and contender in wanted)
        ]
        if task.set == "met-mast" and contender not in (*KINDS, "ensemble", *DETECTORS):
            continue  # its windows are of one step
        if contender in wanted and len(kept) < len(SEEDS):
            planned = planned or task.plan()
            run = _network if contender in NETWORKS else _ensemble if contender in ENSEMBLES else _baseline
            kept = list(run(task, planned, contender))
            key = "failure_auc" if task.set == "met-mast" else "auc_pr"
            mean = statistics.fmean(done.measures[key] for done in kept)
            print(f"{task.set} {task.file} {contender}: {key} {mean:.3f}, {kept[0].seconds:.1f} s", flush=True)
        found += kept
    return found


def _network(task: Task, planned: Plan, kind: str) -> Iterator[Result]:
    """What `gridcast run` does with the runs of one detector."""
    from gridcast.training import fused_fit

    own = [(run.configuration.detector, run.configuration.scaling) for run in planned.runs.values()]
    runs = [run for run, is_ in zip(planned.runs.values(), own, strict=True) if is_ == NETWORKS[kind]]
    started = time.perf_counter()
    outcomes = fused_fit.train(planned.dataset, runs, state_paths=[None] * len(runs), siblings=len(runs))
    for run, outcome in zip(runs, outcomes, strict=True):
        assert not isinstance(outcome, Exception), outcome
        scores = _scores(planned, loading.load_from_bytes(outcome.files))
        seconds = (time.perf_counter() - started) / len(runs)
        yield _result(task, planned, kind, run.seed, scores, seconds, outcome.metrics["val_faults_missed"])


def _ensemble(task: Task, planned: Plan, name: str) -> Iterator[Result]:
    """What `selection.ensemble` does with as many runs."""
    from gridcast.training import calibration, fused_fit

    started, trained, (members, combine) = time.perf_counter(), [], ENSEMBLES[name]
    for network, count in members.items():
        kind, scaling = NETWORKS[network]
        content = task.content | {"grid": {"detector": [kind], "scaling": [scaling]}}
        content["training"] = content["training"] | {"seeds": list(range(count * len(SEEDS)))}
        runs = list(dataclasses.replace(task, content=content).plan().runs.values())
        outcomes = fused_fit.train(planned.dataset, runs, state_paths=[None] * len(runs), siblings=len(runs))
        trained.append([outcomes[seed * count :][:count] for seed in SEEDS])
    for seed in SEEDS:
        files = [one.files for of in trained for one in of[seed]]
        whole = calibration.calibrate_ensemble(planned.dataset, ensemble.pack_members(files, None, combine))
        own = loading.load_from_bytes(whole.files)
        scores = _scores(planned, own)
        seconds = (time.perf_counter() - started) / len(SEEDS)
        if combine == MINIMUM:  # in a geometric mean the units of its members are no matter
            scores = {rule: _scores(planned, _by(planned, own, rule))[rule] for rule in FIXED}
        yield _result(task, planned, name, seed, scores, seconds, whole.metrics["val_faults_missed"])


def _baseline(task: Task, planned: Plan, name: str) -> Iterator[Result]:
    """The baseline on all that lies before the test."""
    dataset = planned.dataset
    values, spans, lookback = dataset.channels[0], dataset.spans, dataset.preprocessing.lookback
    for seed in SEEDS:
        started = time.perf_counter()

        def contribute(part: np.ndarray, seed: int = seed) -> np.ndarray:
            return DETECTORS[name](values[: spans.validation], part, lookback, seed)

        scores = _before_and_in_test(contribute, values, planned)
        yield _result(task, planned, name, seed, scores, time.perf_counter() - started)


def _by(planned: Plan, own: Detector, rule: str) -> Detector:
    """An ensemble whose members have their thresholds, which are the units of their scores, by this rule."""
    limits = [thresholds.fit_threshold(_scores(planned, one)[rule][0], rule) for one in own.members]
    members = [dataclasses.replace(one, threshold=limit) for one, limit in zip(own.members, limits, strict=True)]
    return dataclasses.replace(own, members=tuple(members))


def _scores(planned: Plan, own: Detector) -> Scores:
    """Of a detector."""
    values = scaled_values(own.preprocessing, planned.dataset.target.T)
    return _before_and_in_test(own.contributions, values, planned)


def _before_and_in_test(
    contribute: detection_results.ContributionFunction, values: np.ndarray, planned: Plan
) -> Scores:
    """Scores of all steps before the test, and of those in it."""
    spans, lookback = planned.dataset.spans, planned.dataset.preprocessing.lookback
    parts = (spans.start, spans.validation), spans["test"]
    before, test = (
        events.anomaly_score(detection_results.span_contributions(contribute, values, part, lookback)) for part in parts
    )
    return dict.fromkeys(RULES, (before, test))


def _result(
    task: Task,
    planned: Plan,
    contender: str,
    seed: int,
    scores: Scores,
    seconds: float,
    missed: float | None = None,
) -> Result:
    """The measures of the `scores`; they are kept in units of each threshold, those of the first as they are too."""
    panel, chosen = planned.panel, planned.experiment.anomaly
    (start, end), (before, score) = panel.spans["test"], scores[RULES[0]]
    limits = {rule: _limits(*own, rule) for rule, own in scores.items()}
    if ENSEMBLES.get(contender, ({}, ""))[1] == MINIMUM:
        limits = {rule: np.ones(end - start) for rule in scores}  # the thresholds are those of its members
    if task.set == "met-mast":
        found = _on_mast(panel.times[start:end], score, _limits(before, score, chosen.threshold, chosen.level))
    else:
        labels, per_day, found = panel.labels[start:end], planned.dataset.per_day, {}
        for rule in reversed(scores):
            own = detection_metrics.all_metrics(
                scores[rule][1],
                limits[rule],
                labels,
                steps_per_day=per_day,
                min_steps=chosen.least,
                merge_gap=chosen.gap,
            )
            found |= own if rule == RULES[0] else {f"event_f1 {rule}": own["event_f1"]}
        found = {key: value for key, value in found.items() if np.isfinite(value)}
    done = Result(task.set, task.file, contender, seed, _asked(task), found, seconds, missed)
    rows = {"score": score} | {rule: scores[rule][1] / limit for rule, limit in limits.items()}
    rows = {key: np.concatenate([np.full(start, np.nan), own])[task.rows] for key, own in rows.items()}
    np.savez_compressed(_path(task, contender, seed, ".npz"), labels=panel.labels[task.rows], **rows)
    _path(task, contender, seed).write_text(json.dumps(dataclasses.asdict(done), indent=1) + "\n")
    return done


def _limits(before: np.ndarray, score: np.ndarray, rule: str, level: float | None = None) -> np.ndarray:
    """The threshold of each step of the test, as a detector with this rule has it."""
    first, seen = thresholds.fit_threshold_with_state(before, rule, level)
    return running_threshold.thresholds(score, first, threshold_rules.checked_level(rule, level), seen)


def _on_mast(times: pd.DatetimeIndex, score: np.ndarray, threshold: np.ndarray) -> dict[str, float]:
    """How often a failure, or ice, has a higher score than a normal step; and what its threshold is worth."""
    flags = pd.read_parquet(windows.DATA / "met-mast.parquet", columns=["time", "failure", "icing"])
    flags = flags.set_index("time").reindex(times, fill_value=False)
    failure, icing = flags["failure"].to_numpy(bool), flags["icing"].to_numpy(bool)
    spans = [np.asarray((times >= first) & (times < end)) for first, end in TESTED]
    tested = np.isfinite(score) & np.any(spans, axis=0)
    normal = tested & ~failure & ~icing

    def auc(what: np.ndarray) -> float:
        rows = normal | (what & tested)
        return float(roc_auc_score(what[rows], score[rows]))

    alarms = len(events.spans((score > threshold) & normal))
    found = {"failure_auc": auc(failure & ~icing), "icing_auc": auc(icing & ~failure)}
    for name, span in zip(("first_auc", "late_auc"), spans, strict=True):
        found[name] = auc(failure & ~icing & span)
    return found | {"false_alarms_per_day": alarms * 144 / normal.sum()}


def _together(tasks: list[Task], results: list[Result]) -> dict[str, float]:
    """NAB's score over all files, by our thresholds and by the best one; F1 and false alarm rate over all rows."""
    kept, known = [], {done.file: done for done in results}
    for task in tasks:
        if task.file in known:
            with np.load(_path(task, known[task.file].contender, known[task.file].seed, ".npz")) as own:
                kept.append(dict(own))
    stretches = [[tuple(one) for one in events.spans(own["labels"]).tolist()] for own in kept]
    found = {}
    for rule in (rule for rule in reversed(RULES) if rule in kept[0]):
        ratios = [own[rule] for own in kept]
        heard = [own > 1 for own in ratios]
        added = "" if rule == RULES[0] else f" {rule}"
        found[f"nab{added}"] = detection_metrics.nab(zip(heard, stretches, strict=True))
        found[f"nab_best{added}"] = detection_metrics.nab_best(list(zip(ratios, stretches, strict=True)))[0]
    alarms, labels = np.concatenate(heard), np.concatenate([own["labels"] for own in kept])
    return found | {
        "f1_rows": 2 * np.sum(alarms & labels) / (alarms.sum() + labels.sum()),
        "far_rows": np.sum(alarms & ~labels) / np.sum(~labels),
    }


def _asked(task: Task) -> str:
    """Digest of all that decides a result but code: the experiment without the place of its file, and how it scores."""
    told = task.content | {
        "data": {**task.content["data"], "source": "", "labels": ""},
        "semantics": grid.DETECTION_SEMANTICS,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _kept(task: Task, contender: str, seed: int) -> Result | None:
    """The result that is kept, if it was asked the same."""
    path = _path(task, contender, seed)
    if not path.exists() or (done := Result(**json.loads(path.read_text()))).asked != _asked(task):
        return None
    return done


def _path(task: Task, contender: str, seed: int, suffix: str = ".json") -> Path:
    return RESULTS / "anomalies" / f"{task.set}-{task.file}-{contender.replace(' ', '-')}-{seed}{suffix}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), metavar="NAME")
    told = "contenders to be run; of the others is told what is kept"
    parser.add_argument("--run", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME", help=told)
    parser.add_argument("--fresh", action="store_true", help="run again what is finished")
    parser.add_argument("--data", type=Path, default=sets.SHARED, help="the folder of the public files")
    return parser.parse_args()


if __name__ == "__main__":
    main()
