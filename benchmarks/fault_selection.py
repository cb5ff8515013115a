"""How well injected faults choose among detectors: short ones in one sensor each, and varied ones that last.

    .venv/bin/python benchmarks/fault_selection.py [--sets skab nab] [--every 4] [--data FOLDER]

For every n-th file of `anomalies.py`, networks of each kind and scaling are trained with one seed, and the simple
detectors fitted. Each of two metrics of the validation span, which read no label, chooses one for the file:
`val_online_faults_missed` and `val_online_varied_faults_missed`. Printed is the mean over the files of the AUC-PR of
live scores in the test: of those chosen, of each detector alone, of the best for each file, and of a random choice.

The varied faults were designed from what real faults are said to be (they last, they hide, they are in several sensors
or between them). Their results on SKAB and NAB were looked at twice: for the simple detectors on all files, and here;
the design was not changed after either.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import sets
from anomaly_tasks import HERE, SETS, FileTask

from gridcast.config.selection_metrics import VARIED_FAULTS
from gridcast.evaluation import detection_metrics, detection_results
from gridcast.models.baselines.detectors import DETECTOR_BASELINES
from gridcast.runtime import events, loading
from gridcast.runtime.detector import Detector
from gridcast.training import calibration, keras_backend

METRICS = ("val_online_faults_missed", VARIED_FAULTS)


def main() -> None:
    """Measure the files and print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=("skab", "nab", "simulated"), default=["skab", "nab"])
    parser.add_argument("--every", type=int, default=4, help="every n-th file of a set")
    parser.add_argument("--data", type=Path, default=sets.SHARED, help="folder of the public files")
    arguments = parser.parse_args()
    keras_backend.start("jax", HERE.parent / ".gridcast" / "cache")
    (HERE / "results" / "anomalies").mkdir(parents=True, exist_ok=True)
    for name in arguments.sets:
        files = []
        for task in list(SETS[name](arguments.data))[:: arguments.every]:
            files.append(measured(task))
            print(f"{name} {task.file}: {len(files[-1])} detectors", flush=True)
        print_table(name, files)


def measured(task: FileTask) -> dict[str, tuple[float, ...]]:
    """Return, by detector, the two metrics of the validation span and the AUC-PR of the test."""
    from gridcast.training import fused_fit  # noqa: PLC0415 - Keras, once its backend is started

    planned = task.plan()
    dataset = replace(planned.dataset, selected_by=VARIED_FAULTS)
    start, end = planned.panel.spans["test"]
    labels = np.asarray(planned.panel.labels[start:end])

    def row(detector: Detector, metrics: dict[str, float]) -> tuple[float, ...]:
        score = events.anomaly_score(detection_results.detector_scores(detector, dataset).online.contributions)
        ranked = np.where(np.isfinite(score), score, -np.inf)
        return *(metrics[name] for name in METRICS), detection_metrics.auc_pr(ranked, labels)

    rows = {}
    for run in planned.runs.values():
        if run.seed == 0:
            (result,) = fused_fit.train(dataset, [run], state_paths=[None], siblings=3)
            if not isinstance(result, Exception):
                settings = run.configuration
                rows[f"{settings.scaling} {settings.detector}"] = row(
                    loading.load_from_bytes(result.files), result.metrics
                )
    for name in DETECTOR_BASELINES:
        metrics, detector = calibration.calibrate_threshold(dataset, detection_results.simple_detector(name, dataset))
        rows[name] = row(detector, metrics)
    return rows


def print_table(name: str, files: list[dict[str, tuple[float, ...]]]) -> None:
    """Print what each metric chooses, among the networks and among all detectors."""
    networks = [detector for detector in files[0] if detector not in DETECTOR_BASELINES]
    for title, names in (("networks", networks), ("all", list(files[0]))):
        table = np.array([[file[detector] for detector in names] for file in files])
        auc = table[..., -1]
        print(f"\n{name}, {len(files)} files, {title}: AUC-PR")
        for number, metric in enumerate(METRICS):
            chosen = table[..., number].argmin(axis=1)
            print(f"  chosen by {metric}: {auc[np.arange(len(files)), chosen].mean():.3f}")
        best = int(auc.mean(axis=0).argmax())
        print(
            f"  best alone, {names[best]}: {auc[:, best].mean():.3f}; best of each file: {auc.max(axis=1).mean():.3f}"
        )
        print(f"  random: {auc.mean():.3f}")
    means = np.array([[file[detector] for detector in files[0]] for file in files]).mean(axis=0)
    for detector, row in zip(files[0], means, strict=True):
        print(f"    {detector:26}" + "".join(f"{value:8.3f}" for value in row))


if __name__ == "__main__":
    main()
