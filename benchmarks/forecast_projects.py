"""gridcast's side of the forecasting benchmark: a project with the set's table, its sweep, its winner's forecasts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import measure
import yaml
from forecast_tasks import ForecastTask

HERE = Path(__file__).parent.absolute()
ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true"}
GRIDCAST = str(Path(sys.executable).with_name("gridcast"))
DATA_KEYS = ("calendar", "time_zone", "period", "gaps")
"""Facts on a table that a user knows and the table may not show."""


def run(project: Path, task: ForecastTask, experiment: dict[str, Any], seed: int) -> measure.Cost:
    """Run `experiment` in the new `project`, write the winner's forecast there, and return the cost of the run."""
    table = project / task.experiment["data"]["source"]
    table.parent.mkdir(exist_ok=True)
    task.table.to_parquet(table, index=False)
    return _sweep(project, experiment, seed)


def run_new(project: Path, task: ForecastTask, seed: int) -> measure.Cost:
    """Do the same with the experiment that `gridcast new` writes for the set's table, and `requirements`."""
    data = task.experiment["data"]
    table = project / data["source"]
    table.parent.mkdir(exist_ok=True)
    task.table.to_parquet(table, index=False)
    columns = ["--target", data["target"], "--time", data["time"], "--series", data["series"]]
    names = ["--task", "probabilistic", "--name", task.name, "--frequency", data["frequency"], "-o", "new.yaml"]
    names += ["--horizon", str(task.panel.horizon)]
    cost = measure.run([GRIDCAST, "new", data["source"], *columns, *names], project, ENVIRONMENT)
    if not (project / "new.yaml").exists():
        return cost
    written = yaml.safe_load((project / "new.yaml").read_text(encoding="utf-8"))
    content = with_requirements(written, requirements(task.experiment))
    content["split"] = with_one_test_window(written["split"], task.table["time"].nunique(), task.panel.horizon)
    return cost + _sweep(project, content, seed)


def requirements(experiment: dict[str, Any]) -> dict[str, Any]:
    """Return what the benchmark wants of an experiment on the set of `experiment`, whoever wrote it.

    That is the task: horizon, quantiles, covariates, all series, and what is known of the table.
    """
    data = experiment["data"]
    return {
        "data": {key: data[key] for key in (*DATA_KEYS, "past") if key in data},
        "future": data.get("future", []),
        "probabilistic": {"quantiles": experiment["probabilistic"]["quantiles"]},
        "selection": {"metric": "best_val_wql"},
    }


def with_requirements(written: dict[str, Any], required: dict[str, Any]) -> dict[str, Any]:
    """Return the experiment `written` by `gridcast new` with what is `required`."""
    content = dict(written)
    for section in ("data", "probabilistic", "selection"):
        content[section] = {**written.get(section, {}), **required[section]}
    content["data"]["future"] = list(dict.fromkeys([*written["data"].get("future", []), *required["future"]]))
    content["data"].pop("select", None)
    return content


def with_one_test_window(split: dict[str, float], steps: int, horizon: int) -> dict[str, float]:
    """Return the shares of a `split` with a test span of `horizon` of the `steps`; training gets what that leaves."""
    test = horizon / steps
    validation = max(split["validation"], test)
    return {"train": 1 - validation - test, "validation": validation, "test": test}


def _sweep(project: Path, experiment: dict[str, Any], seed: int) -> measure.Cost:
    """Run the sweep, and have another process write its winner's forecast, whose cost does not count."""
    content = {**experiment, "training": {**experiment["training"], "seeds": [seed]}}
    (project / "experiment.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    cost = measure.run([GRIDCAST, "run", "experiment.yaml"], project, ENVIRONMENT)
    if cost.code == 0:
        measure.run([sys.executable, str(HERE / "champion_forecasts.py"), str(project)], project, ENVIRONMENT)
    return cost
