"""The files of the anomaly benchmark, each as an experiment of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nab_score
import numpy as np
import pandas as pd
import yaml
from peers import windows

from gridcast import config
from gridcast.data import simulation
from gridcast.sweep import plan
from gridcast.sweep.plan import Plan

HERE = Path(__file__).parent.absolute()
EXPERIMENTS, RESULTS = HERE / "grids" / "anomalies", HERE / "results"
MAST = HERE.parent / "experiments" / "met_mast.yaml"
SEEDS = (0, 1, 2)
KINDS = ("reconstruction", "prediction", "both", "encoding")
"""Kinds of detectors."""
PLANTS = range(100, 105)
"""Seeds of the simulated plants."""
VALIDATED = 0.2
"""Share of the rows before the test that networks use for validation."""


@dataclass(frozen=True)
class FileTask:
    """One file: the experiment on it, and the step that each row of the file belongs to."""

    set: str
    file: str
    content: dict[str, Any]
    rows: np.ndarray

    def plan(self) -> Plan:
        """Return the plan of the experiment."""
        text = yaml.safe_dump(self.content, sort_keys=False)
        return plan.make_plan(config.parse(text), text, "jax", cache=windows.DATA)


def skab(data: Path) -> Iterator[FileTask]:
    """Yield the files of valve1 and other."""
    content = yaml.safe_load((EXPERIMENTS / "skab.yaml").read_text(encoding="utf-8"))
    for path in sorted([*(data / "skab" / "valve1").glob("*.csv"), *(data / "skab" / "other").glob("*.csv")]):
        steps = len(pd.read_csv(path, sep=";", usecols=["datetime"]))
        yield FileTask(
            "skab", f"{path.parent.name}-{path.stem}", _experiment_on(content, path, steps, 400), np.arange(steps)
        )


def nab(data: Path) -> Iterator[FileTask]:
    """Yield the files of realTraffic and realKnownCause that are present."""
    content, labels = yaml.safe_load((EXPERIMENTS / "nab.yaml").read_text(encoding="utf-8")), data / "nab"
    content["data"]["labels"] = str(labels / "combined_windows.json")
    for path in sorted(labels.glob("*/*.csv")):
        table = pd.read_csv(path)
        rows, stamps = pd.factorize(table["timestamp"])
        probation = nab_score.probation_steps(len(rows))
        experiment = _experiment_on(content, path, len(stamps), int(rows[probation]))
        if path.parent.name == "realTraffic":  # whose steps come as they come, so that no frequency can be inferred
            experiment["data"] |= {"frequency": "min"}
        yield FileTask("nab", path.stem, experiment, rows)


def simulated(_: Path) -> Iterator[FileTask]:
    """Yield simulated plants of either kind."""
    content = yaml.safe_load((EXPERIMENTS / "simulated.yaml").read_text(encoding="utf-8"))
    steps = 14 * simulation.STEPS_PER_DAY
    for kind in simulation.PLANT_KINDS:
        for seed in PLANTS:
            readings, labels = simulation.simulate_plant(kind, steps, seed)
            path = RESULTS / "anomalies" / f"{kind}-{seed}.csv"
            readings.assign(anomaly=simulation.labelled_steps(readings, labels).astype(int)).to_csv(path, index=False)
            experiment = _experiment_on(content, path, steps, int(simulation.NORMAL_SHARE * steps))
            experiment["data"] |= {"sensors": [name for name in readings if name != "time"]}
            yield FileTask("simulated", path.stem, experiment, np.arange(steps))


def mast(data: Path) -> Iterator[FileTask]:
    """Yield the experiment of the mast with several seeds and with the detectors as its only axis."""
    content = yaml.safe_load(MAST.read_text(encoding="utf-8"))
    content["training"]["seeds"] = list(SEEDS)
    content["grid"] = {"detector": list(KINDS)}
    content["data"]["select"]["start"] = str(content["data"]["select"]["start"])
    yield FileTask("met-mast", "mast", content, np.zeros(0, int))


def _experiment_on(content: dict[str, Any], path: Path, steps: int, before_test: int) -> dict[str, Any]:
    """The experiment `content` on the file at `path`, with `steps` of which the first `before_test` are not tested."""
    train, validation = before_test * (1 - VALIDATED) / steps, before_test * VALIDATED / steps
    split = {"train": train, "validation": validation, "test": 1 - train - validation}
    return content | {"data": content["data"] | {"source": str(path)}, "split": split}


SETS: dict[str, Callable[[Path], Iterator[FileTask]]] = {
    "skab": skab,
    "nab": nab,
    "simulated": simulated,
    "met-mast": mast,
}
