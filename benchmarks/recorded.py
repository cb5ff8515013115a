"""Counts of what a contender recorded in its MLflow store.

    .venv/bin/python benchmarks/recorded.py FOLDER AXIS...

Prints the counts as JSON. It must run as a separate process: MLflow keeps connections by path, and within one process
it would go on reading a store that was removed and created again.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, Run


@dataclass(frozen=True)
class Recorded:
    """Numbers of runs of the grid, of those with a curve of the validation loss, and of those with a model that exists.

    `best_val_loss` is the lowest of the final metrics of that name, which gridcast writes; None if there are none.
    """

    runs: int
    curves: int
    models: int
    best_val_loss: float | None


def read(folder: Path, axes: Iterable[str]) -> Recorded:
    """Return the counts of the runs in the store of `folder` that have all of `axes` among their params."""
    path, needed = folder / "mlflow.db", set(axes)
    if not path.exists():
        return Recorded(0, 0, 0, None)
    client = MlflowClient(f"sqlite:///{path}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = [run for run in _all_runs(client, experiments) if needed <= run.data.params.keys()]
    curves = sum(len(client.get_metric_history(run.info.run_id, "val_loss")) > 1 for run in runs)
    models = sum(any(_exists(client, output.model_id) for output in _models(run)) for run in runs)
    losses = [run.data.metrics["best_val_loss"] for run in runs if "best_val_loss" in run.data.metrics]
    return Recorded(len(runs), curves, models, min(losses, default=None))


def _all_runs(client: MlflowClient, experiments: list[str]) -> list[Run]:
    runs, token = [], ""
    while token is not None:
        page = client.search_runs(experiments, page_token=token or None)
        runs += page
        token = page.token or None
    return runs


def _models(run: Run) -> list[LoggedModelOutput]:
    return run.outputs.model_outputs if run.outputs else []


def _exists(client: MlflowClient, model: str) -> bool:
    location = client.get_logged_model(model).artifact_location
    local = Path(url2pathname(urlsplit(location).path) if location.startswith("file:") else location)
    return (local / "MLmodel").exists()


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(read(Path(sys.argv[1]), sys.argv[2:]))))
