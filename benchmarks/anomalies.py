"""gridcast's detectors and its baselines on parts of SKAB and NAB, and on the failures of a meteorological mast.

    .venv/bin/python benchmarks/anomalies.py [--sets NAME ...] [--run NAME ...] [--fresh] [--data FOLDER]

Every file is a task of its own. What is before its test is all that anything is fitted to, thresholds
too, and no label is read there:

- skab: the first 400 rows of each file, of 23 of its 34 (valve1, and the odd ones of other), as its own
  notebooks have it; its file without anomalies is of another state of the plant, and not used.
- nab: the first 15 % of each file, 750 rows at most, which NAB calls probationary, of 10 of its 58 files.
- met-mast: `experiments/met_mast.yaml`, 2016-01-10 to 2016-10-31 without flagged rows. The test is
  2016-11 to 2017-03 and 2017-08 to the end; icing is no failure and no normal step, and told apart.

A network keeps the last fifth of these rows, the mast October, as its validation, for the best epoch; baselines
choose nothing, so they are fitted to all of them. Settings stand in `grids/anomalies`; they were chosen by
`val_faults_missed`, which sees no test. "chosen" is the detector that this measure takes in each file.
"ensemble" is one of five encodings, which differ in their seeds.
A step is anomalous where its score lies above the mean plus three standard deviations of those before the test; two
such steps that no whole window lies between are of one event.

Measured is the test span alone, without point adjustment; AUC-PR, VUS-PR and event F1 are means over the files, and
all over the seeds. NAB is the score of its standard profile over all files, each row above the threshold an alarm;
"NAB best" takes the threshold, one for all files in units of theirs, that is best on the test. In "NAB, raised" an
alarm is raised once, when an event begins; "NAB best, raw" is "NAB best" for scores as they are, as NAB itself has it
for its scoreboard. That events are merged, and these two, was decided with the test labels in view. SKAB's
windows are its labelled stretches. "F1" and "FAR" count rows of whole files, all files together, as SKAB's leaderboard
does, where an LSTM autoencoder has 0.68 and 14 % on all 34 files.
In three files of NAB stamps stand twice, which gridcast refuses; the first row of a stamp is taken for all.

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
import sweep
import yaml
from peers import windows
from sklearn.metrics import roc_auc_score

from gridcast import config, ensemble, grid, plan
from gridcast.anomaly import detection, events, scoring
from gridcast.anomaly.baselines import DETECTORS
from gridcast.plan import Plan
from gridcast.training import backend

HERE = Path(__file__).parent.absolute()
EXPERIMENTS, RESULTS = HERE / "grids" / "anomalies", HERE / "results"
MAST = HERE.parent / "experiments" / "met_mast.yaml"
SEEDS = (0, 1, 2)
KINDS, SCALINGS = ("reconstruction", "prediction", "both", "encoding"), ("none", "centred")
NETWORKS = {kind if how == "none" else f"{how} {kind}": (kind, how) for how in SCALINGS for kind in KINDS}
ENSEMBLE, MEMBERS = "ensemble", 5
"""Encodings of so many seeds together: 0 to 4 for the seed 0, 5 to 9 for 1, 10 to 14 for 2."""
CHOSEN = "chosen"
VALIDATED = 0.2
"""Share of the rows before the test that networks keep as validation."""
TESTED = (("2016-11-01", "2017-04-01"), ("2017-08-01", "2018-01-01"))
"""Of the mast."""


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
        return plan.make(config.parse(text), text, "jax", windows.DATA)


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
    threshold: float
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
        if len(stamps) < len(table):
            path = RESULTS / "anomalies" / path.relative_to(labels)  # noqa: PLW2901 - the same without those rows
            path.parent.mkdir(parents=True, exist_ok=True)
            table.drop_duplicates("timestamp").to_csv(path, index=False)
        begun = min(int(scoring.PROBATION * len(rows)), scoring.LONGEST)
        yield Task("nab", path.stem, _on(content, path, len(stamps), int(rows[begun])), rows)


def mast(data: Path) -> Iterator[Task]:
    """The one experiment, with seeds; its grid is the detectors alone."""
    content = yaml.safe_load(MAST.read_text(encoding="utf-8"))
    content["training"]["seeds"] = list(SEEDS)
    content["grid"] = {"detector": list(KINDS)}
    content["data"]["select"]["start"] = str(content["data"]["select"]["start"])
    yield Task("met-mast", "mast", content, np.zeros(0, int))


SETS: dict[str, Callable[[Path], Iterator[Task]]] = {"skab": skab, "nab": nab, "met-mast": mast}
CONTENDERS = (*NETWORKS, ENSEMBLE, *DETECTORS)


def main() -> None:
    """Measure what the command line asks for and is not finished yet."""
    arguments = _arguments()
    about = {"machine": sweep.machine(), "started": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    (RESULTS / "anomalies").mkdir(parents=True, exist_ok=True)
    backend.start("jax", HERE.parent / ".gridcast" / "cache")
    told = {}
    for name in arguments.sets:
        found, tasks = [], list(SETS[name](arguments.data))
        if not tasks:
            print(f"{name}: skipped, {arguments.data / name} is not there", flush=True)
            continue
        for task in tasks:
            found += _of(task, arguments.run, fresh=arguments.fresh)
        told[name] = summary(name, tasks, found)
        print(f"\n{name}: {len(tasks)} files\n{table(told[name])}", flush=True)
        (RESULTS / "anomalies.json").write_text(json.dumps({**about, "summary": told}, indent=1) + "\n")


def summary(name: str, tasks: list[Task], found: list[Result]) -> dict[str, dict[str, float]]:
    """Of each contender the mean of each measure, and over all files what cannot be a mean of files."""
    told = {}
    for contender in (*NETWORKS, ENSEMBLE, CHOSEN, *DETECTORS):
        own = chosen(found) if contender == CHOSEN else [done for done in found if done.contender == contender]
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


COLUMNS = {
    "auc_pr": "AUC-PR",
    "vus_pr": "VUS-PR",
    "nab": "NAB",
    "nab_best": "NAB best",
    "nab_raised": "NAB, raised",
    "nab_raw": "NAB best, raw",
    "event_f1": "event F1",
    "f1_rows": "F1",
    "far_rows": "FAR",
    "failure_auc": "failure AUC",
    "first_auc": "2016/17",
    "late_auc": "late 2017",
    "icing_auc": "icing AUC",
    "false_alarms_per_day": "false alarms a day",
    "seconds": "seconds",
}


def table(told: dict[str, dict[str, float]]) -> str:
    """The summary as aligned text."""
    shown = [key for key in COLUMNS if any(key in row for row in told.values())]
    digits = {"nab": 1, "nab_best": 1, "nab_raised": 1, "nab_raw": 1, "seconds": 1}
    lines = [("", *(COLUMNS[key] for key in shown))]
    for contender, row in told.items():
        figures = [f"{row[key]:.{digits.get(key, 3)}f}" if key in row else "-" for key in shown]
        lines.append((f"  {'gridcast, ' if contender not in DETECTORS else ''}{contender}", *figures))
    return measure.aligned(lines)


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
        if task.set == "met-mast" and contender.startswith("centred"):
            continue  # its windows are of one step
        if contender in wanted and len(kept) < len(SEEDS):
            planned = planned or task.plan()
            run = _network if contender in NETWORKS else _ensemble if contender == ENSEMBLE else _baseline
            kept = list(run(task, planned, contender))
            key = "failure_auc" if task.set == "met-mast" else "auc_pr"
            mean = statistics.fmean(done.measures[key] for done in kept)
            print(f"{task.set} {task.file} {contender}: {key} {mean:.3f}, {kept[0].seconds:.1f} s", flush=True)
        found += kept
    return found


def _network(task: Task, planned: Plan, kind: str) -> Iterator[Result]:
    """What `gridcast run` does with the runs of one detector."""
    from gridcast.training import fit, fused  # noqa: PLC0415 - the backend is started first

    own = [(run.configuration.detector, run.configuration.scaling) for run in planned.runs.values()]
    runs = [run for run, is_ in zip(planned.runs.values(), own, strict=True) if is_ == NETWORKS[kind]]
    started = time.perf_counter()
    outcomes = fused.train(planned.material, runs, [None] * len(runs), len(runs))
    for run, outcome in zip(runs, outcomes, strict=True):
        assert not isinstance(outcome, Exception), outcome
        said = fit.evaluate(planned.material, outcome.files)
        seconds = (time.perf_counter() - started) / len(runs)
        yield _result(task, planned, kind, run.seed, said, seconds, outcome.metrics["val_faults_missed"])


def _ensemble(task: Task, planned: Plan, name: str) -> Iterator[Result]:
    """What `selection.ensemble` does with the runs of as many seeds."""
    from gridcast.training import fit, fused  # noqa: PLC0415

    content = task.content | {"grid": {"detector": ["encoding"]}}
    content["training"] = content["training"] | {"seeds": list(range(MEMBERS * len(SEEDS)))}
    runs = list(dataclasses.replace(task, content=content).plan().runs.values())
    started = time.perf_counter()
    outcomes = fused.train(planned.material, runs, [None] * len(runs), len(runs))
    for seed in SEEDS:
        files = ensemble.packed([one.files for one in outcomes[seed * MEMBERS :][:MEMBERS]], None)
        whole = fit.combined(planned.material, files)
        said = fit.evaluate(planned.material, whole.files)
        seconds = (time.perf_counter() - started) / len(SEEDS)
        yield _result(task, planned, name, seed, said, seconds, whole.metrics["val_faults_missed"])


def _baseline(task: Task, planned: Plan, name: str) -> Iterator[Result]:
    """The baseline on all that lies before the test."""
    material = planned.material
    values, spans, lookback = material.channels[0], material.spans, material.preprocessing.lookback
    known = dataclasses.replace(spans, train=spans.validation)
    for seed in SEEDS:
        started = time.perf_counter()

        def contribute(part: np.ndarray, seed: int = seed) -> np.ndarray:
            return DETECTORS[name](values[: known.train], part, lookback, seed)

        threshold = detection.limit(contribute, values, known, lookback, material.anomaly)
        found = detection.over(contribute, values, spans["test"], lookback)
        said = detection.Detection(found, threshold)
        yield _result(task, planned, name, seed, said, time.perf_counter() - started)


def _result(
    task: Task, planned: Plan, contender: str, seed: int, said: Any, seconds: float, missed: float | None = None
) -> Result:
    """The measures of what was `said`; they and the scores are kept."""
    score, panel, chosen = events.score(said.contributions), planned.panel, planned.experiment.anomaly
    start, end = panel.spans["test"]
    if task.set == "met-mast":
        found = _on_mast(panel.times[start:end], score, said.threshold)
    else:
        labels, per_day = panel.labels[start:end], planned.material.per_day
        found = scoring.measures(score, said.threshold, labels, per_day, chosen.least, chosen.gap)
        found = {key: value for key, value in found.items() if np.isfinite(value)}
    done = Result(task.set, task.file, contender, seed, _asked(task), found, said.threshold, seconds, missed)
    labels = panel.labels[task.rows]
    whole = np.concatenate([np.full(start, np.nan), score])[task.rows]
    np.savez_compressed(_path(task, contender, seed, ".npz"), score=whole.astype(np.float32), labels=labels)
    _path(task, contender, seed).write_text(json.dumps(dataclasses.asdict(done), indent=1) + "\n")
    return done


def _on_mast(times: pd.DatetimeIndex, score: np.ndarray, threshold: float) -> dict[str, float]:
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
    rows, raised_once, ratios, scores, hits, raised, actual, normal = [], [], [], [], 0, 0, 0, 0
    known = {done.file: done for done in results}
    for task in tasks:
        if task.file in known:
            done = known[task.file]
            with np.load(_path(task, done.contender, done.seed, ".npz")) as kept:
                score, labels = kept["score"], kept["labels"]
            heard, own = score > done.threshold, [tuple(one) for one in events.spans(labels).tolist()]
            begun = np.zeros_like(heard)
            begun[events.spans(heard, gap=task.content["anomaly"]["gap"])[:, 0]] = True
            raised_once.append((begun, own))
            rows.append((heard, own))
            ratios.append((score / done.threshold, own))
            scores.append((score, own))
            hits, raised = hits + int(np.sum(heard & labels)), raised + int(heard.sum())
            actual, normal = actual + int(labels.sum()), normal + int(np.sum(~labels))
    return {
        "nab": scoring.nab(rows),
        "nab_best": scoring.nab_best(ratios)[0],
        "nab_raised": scoring.nab(raised_once),
        "nab_raw": scoring.nab_best(scores)[0],
        "f1_rows": 2 * hits / (raised + actual),
        "far_rows": (raised - hits) / normal,
    }


def _asked(task: Task) -> str:
    """Digest of all that decides a result but code: the experiment without the place of its file, and how it scores."""
    told = task.content | {"data": {**task.content["data"], "source": "", "labels": ""}, "semantics": grid.DETECTION}
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
