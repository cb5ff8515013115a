"""Ray Tune's grid_search, one run per core at a time, with its MLflow callback.

VENV/bin/python benchmarks/peers/ray_grid.py FOLDER

Losses are reported at every epoch, no checkpoints, as Ray's own Keras example has it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import task
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback


def train(settings: dict[str, Any], problem: task.Task) -> None:
    # Imported in the worker: the parent needs neither.
    import keras  # noqa: PLC0415
    import network  # noqa: PLC0415
    from ray.tune.integration.keras import TuneReportCheckpointCallback  # noqa: PLC0415

    keras.utils.set_random_seed(0)
    model = network.build(problem.sizes, **{name: settings[name] for name in task.NETWORK})
    reporter = TuneReportCheckpointCallback(checkpoint_on=[], metrics=["loss", "val_loss", "mae", "val_mae"])
    model.fit(
        problem.train,
        problem.train_target,
        validation_data=(problem.validation, problem.validation_target),
        epochs=problem.epochs,
        batch_size=settings["batch_size"],
        callbacks=[keras.callbacks.EarlyStopping(patience=problem.patience, restore_best_weights=True), reporter],
        verbose=0,
    )


def main(folder: Path) -> None:
    problem = task.read(folder)
    recorder = MLflowLoggerCallback(
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}", experiment_name=problem.name, save_artifact=True
    )
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(train, problem=problem), {"cpu": 1}),
        param_space=problem.fixed | {axis: tune.grid_search(values) for axis, values in problem.axes.items()},
        tune_config=tune.TuneConfig(metric="val_loss", mode="min"),
        run_config=tune.RunConfig(name="grid", storage_path=str(folder / "ray"), callbacks=[recorder]),
    )
    results = tuner.fit()
    if results.errors:
        raise results.errors[0]
    best = results.get_best_result(scope="all")
    task.write(folder, best.metrics_dataframe["val_loss"].min(), len(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
