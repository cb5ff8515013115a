"""gridcast's detectors and its baselines on parts of SKAB and NAB, on simulated plants, and on a mast's failures.

    .venv/bin/python benchmarks/anomalies.py [--sets NAME ...] [--run NAME ...] [--files N] [--fresh] [--data FOLDER]

Every file is a separate task. Networks, baselines and thresholds are fitted to the rows before its test only, and no
label is read there:

- skab: the first 400 rows of each file, as in SKAB's own notebooks, in 23 of its 34 files (valve1, and the odd ones of
  other). Its file without anomalies is from another state of the plant and not used.
- nab: the first 15 % of each file, at most 750 rows, which NAB calls probationary, in 10 of its 58 files.
- simulated: all but the last quarter of ten plants of `gridcast simulate sensors`, five with one sensor, five with six.
- met-mast: `experiments/met_mast.yaml`, 2016-01-10 to 2016-10-31 without flagged rows. The test is
  2016-11 to 2017-03 and 2017-08 to the end; icing is neither a failure nor normal, and reported separately.

A network uses the last fifth of these rows (October, on the mast) as its validation span, to choose the best epoch;
baselines choose nothing, so they are fitted to all of them. The settings are in `grids/anomalies`; they were selected
by faults injected into the validation span, which does not use the test. "chosen" is the network or ensemble,
"agreement" excepted, that misses fewest of them online (`val_online_faults_missed`) for each file. "ensemble" consists
of five encodings with different seeds. "four kinds" is the geometric mean of an encoding, which learns how sensors move
together, a centred prediction, which learns how they change, and a prediction and a reconstruction in units of the
window's spread, which react to larger changes than just before. "agreement" is the minimum of that reconstruction and
of three predictions, one in each scaling: an alarm where all of them raise one.

A step is anomalous where its score lies above the threshold. For all contenders alike the threshold comes from their
own scores before the test: by mean-std, the default (the mean plus three standard deviations), by lognormal (the same
for their logarithms), by quantile (at most 0.1 % of them above it: the largest of fewer than 1,000 scores), and
separately by running (lognormal, recomputed at each step from all scores before it, test scores included). Lognormal,
running and the combinations of kinds were designed with the labels of SKAB and NAB in view, but not with those of the
simulated plants.

Scores are online: those that `gridcast detect` records, half a window after each step where the score rests on windows
(reconstruction, both, encoding, PCA and the ensembles), else at once. Thresholds are fitted to such scores. An alarm
counts where it is raised, after the wait. Columns "at once" and "in hindsight" are for comparison: without a wait, and
with all windows that contain a step, also those that lie ahead, as version 0.1 measured.

All metrics are of the test span, without point adjustment, and means over the seeds; AUC-PR, VUS-PR, event F1 and the
delay in steps are means over the files too. NAB is the score of its standard profile over all files, an alarm at each
row at which a score above the threshold is known; "NAB best" uses the level that is best on the test, one for all files
in units of their thresholds, as NAB does for its scoreboard. SKAB's and the plants' windows are their labelled
stretches. "F1" and "FAR" count the rows of whole files, all files together, by mean-std, as SKAB's leaderboard does,
where an LSTM autoencoder has 0.68 and 14 % on all 34 files. Three files of NAB contain the same stamp twice; the first
row of a stamp stands for all.

gridcast trains in this process, the seeds of a detector side by side, by the functions that `gridcast run` calls:
sweeps of a few seconds would measure MLflow. The seconds are for fitting, threshold and scores of one seed, including
compilation where no compiled program was cached. Prints tables and writes benchmarks/results/anomalies.json. Finished
results are kept in results/anomalies and reused while their settings are the same; --fresh runs them again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import measure
import nab_score
import numpy as np
import sets
from anomaly_runs import (
    AT_ONCE,
    CONTENDERS,
    ENSEMBLES,
    FIXED,
    HINDSIGHT,
    NETWORKS,
    ONLINE,
    RAISED,
    RULES,
    DetectionBenchmark,
    result_path,
    results_of_file,
)
from anomaly_tasks import HERE, RESULTS, SEEDS, SETS, FileTask

import sweep
from gridcast.models.baselines.detectors import DETECTOR_BASELINES
from gridcast.runtime import events
from gridcast.training import keras_backend

CHOSEN = "chosen"
"""Name of the network or ensemble that `val_online_faults_missed` selects for each file."""


def main() -> None:
    """Measure what the command line requests and has no result yet."""
    arguments = _arguments()
    about = {"machine": sweep.machine(), "started": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    (RESULTS / "anomalies").mkdir(parents=True, exist_ok=True)
    keras_backend.start("jax", HERE.parent / ".gridcast" / "cache")
    summaries = {}
    for name in arguments.sets:
        results, tasks = [], list(SETS[name](arguments.data))
        if not tasks:
            print(f"{name}: skipped, {arguments.data / name} does not exist", flush=True)
            continue
        for task in tasks[: arguments.files]:
            results += results_of_file(task, arguments.run, fresh=arguments.fresh)
        tasks = tasks[: arguments.files]
        summaries[name] = summary(name, tasks, results)
        print(f"\n{name}: {len(tasks)} files\n{table(summaries[name], COLUMNS[name == 'met-mast'])}", flush=True)
        if name != "met-mast":
            for rule in RULES[1:]:
                titles = {f"{key} {rule}": title for key, title in THRESHOLD_METRICS.items()}
                print(f"\n{name}, by a {rule} threshold\n{table(summaries[name], titles)}", flush=True)
            print(f"\n{name}, the best of each side by a fixed threshold\n{sides(summaries[name], FIXED)}")
            print(f"\n{name}, the best of each side by any threshold\n{sides(summaries[name], RULES)}", flush=True)
        (RESULTS / "anomalies.json").write_text(json.dumps({**about, "summary": summaries}, indent=1) + "\n")


def summary(name: str, tasks: list[FileTask], results: list[DetectionBenchmark]) -> dict[str, dict[str, float]]:
    """Return, by contender, the mean of each metric, and the metrics that are defined over all files together."""
    by_contender = {}
    for contender in (*NETWORKS, *ENSEMBLES, CHOSEN, *DETECTOR_BASELINES):
        of_contender = [done for done in results if done.contender == contender]
        if contender == CHOSEN:  # an agreement is about thresholds, which `missed` does not depend on
            of_contender = chosen([done for done in results if done.contender != "agreement"])
        if not of_contender:
            continue
        rows = [done.measures | {"seconds": done.seconds} for done in of_contender]
        keys = dict.fromkeys(key for row in rows for key in row)
        by_contender[contender] = {key: statistics.fmean(row[key] for row in rows if key in row) for key in keys}
        if name != "met-mast":
            by_seed = [_over_all_files(tasks, [done for done in of_contender if done.seed == seed]) for seed in SEEDS]
            by_contender[contender] |= {key: statistics.fmean(row[key] for row in by_seed) for key in by_seed[0]}
    return by_contender


def chosen(results: list[DetectionBenchmark]) -> list[DetectionBenchmark]:
    """Return, for each file and seed, the result of the detector that misses fewest faults in the validation span."""
    best: dict[Any, DetectionBenchmark] = {}
    for done in results:
        if done.missed is not None:
            current = best.setdefault((done.file, done.seed), done)
            best[done.file, done.seed] = min(current, done, key=lambda result: result.missed)
    return list(best.values())


THRESHOLD_METRICS = {"nab": "NAB", "nab_best": "NAB best", "event_f1": "event F1", "delay_steps": "delay"}
"""Metrics that depend on the threshold, with their titles."""
COLUMNS: tuple[dict[str, str], ...] = (
    {
        "auc_pr": "AUC-PR",
        "vus_pr": "VUS-PR",
        **THRESHOLD_METRICS,
        "f1_rows": "F1",
        "far_rows": "FAR",
        f"{AT_ONCE}auc_pr": "AUC-PR at once",
        f"{HINDSIGHT}auc_pr": "AUC-PR in hindsight",
        f"{HINDSIGHT}nab": "NAB in hindsight",
        f"{HINDSIGHT}event_f1": "event F1 in hindsight",
        "seconds": "seconds",
    },
    {
        "failure_auc": "failure AUC",
        "first_auc": "2016/17",
        "late_auc": "late 2017",
        "icing_auc": "icing AUC",
        "false_alarms_per_day": "false alarms a day",
        "seconds": "seconds",
    },
)
"""Columns of the table of files with labels, and of that of the mast."""


def table(rows: dict[str, dict[str, float]], columns: dict[str, str]) -> str:
    """Return the summary as aligned text."""
    lines = [("", *columns.values())]
    for contender, row in rows.items():
        figures = [_figure(key, row[key]) if key in row else "-" for key in columns]
        lines.append((f"  {'gridcast, ' if contender not in DETECTOR_BASELINES else ''}{contender}", *figures))
    return measure.aligned(lines)


def sides(rows: dict[str, dict[str, float]], rules: tuple[str, ...]) -> str:
    """Return, for each metric, the best of gridcast's detectors and of the baselines, with its threshold rule."""
    lines = [("", "gridcast", "", "baselines", "")]
    compared = {"auc_pr": "AUC-PR", "vus_pr": "VUS-PR", **THRESHOLD_METRICS}
    del compared["delay_steps"]  # the shorter the better, but only beside what was found
    for metric, title in compared.items():
        keys = [metric, *(f"{metric} {rule}" for rule in rules[1:])] if metric in THRESHOLD_METRICS else [metric]
        cells: list[str] = []
        for is_baseline in (False, True):
            side = {name: row for name, row in rows.items() if (name in DETECTOR_BASELINES) == is_baseline}
            best, name, key = max((row[key], name, key) for name, row in side.items() for key in keys if key in row)
            rule = key.removeprefix(metric).strip() or (RULES[0] if metric in THRESHOLD_METRICS else "")
            cells += [_figure(metric, best), f"{name}{', ' if rule else ''}{rule}"]
        lines.append((f"  {title}", *cells))
    return measure.aligned(lines)


def _figure(key: str, value: float) -> str:
    is_large = "nab" in key or key.startswith("delay") or key == "seconds"
    return f"{value:.{1 if is_large else 3}f}"


def _over_all_files(tasks: list[FileTask], results: list[DetectionBenchmark]) -> dict[str, float]:
    """NAB's score over all files, by our thresholds and by the best one; F1 and false alarm rate over all rows."""
    by_file = {done.file: done for done in results}
    scored = []
    for task in tasks:
        if task.file in by_file:
            with np.load(result_path(task, by_file[task.file].contender, by_file[task.file].seed, ".npz")) as rows:
                scored.append(dict(rows))
    stretches = [[tuple(stretch) for stretch in events.spans(rows["labels"]).tolist()] for rows in scored]
    metrics = {}
    for view in (ONLINE, HINDSIGHT):
        for rule in (rule for rule in RULES if rule in scored[0]):
            ratios = [rows[f"{view}{rule}{RAISED}"] for rows in scored]
            raised_alarms = [ratio > 1 for ratio in ratios]
            suffix = "" if rule == RULES[0] else f" {rule}"
            metrics[f"{view}nab{suffix}"] = nab_score.nab_score(zip(raised_alarms, stretches, strict=True))
            metrics[f"{view}nab_best{suffix}"] = nab_score.best_score(list(zip(ratios, stretches, strict=True)))[0]
    alarms = [rows[RULES[0]] > 1 for rows in scored]
    raised, labels = np.concatenate(alarms), np.concatenate([rows["labels"] for rows in scored])
    return metrics | {
        "f1_rows": 2 * np.sum(raised & labels) / (raised.sum() + labels.sum()),
        "far_rows": np.sum(raised & ~labels) / np.sum(~labels),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), metavar="NAME")
    about_run = "contenders to run; for the others finished results are reported"
    parser.add_argument(
        "--run", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME", help=about_run
    )
    parser.add_argument("--files", type=int, metavar="N", help="only the first N files of each set")
    parser.add_argument("--fresh", action="store_true", help="run finished contenders again")
    parser.add_argument("--data", type=Path, default=sets.SHARED, help="folder of the public files")
    return parser.parse_args()


if __name__ == "__main__":
    main()
