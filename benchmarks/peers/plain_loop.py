"""The loop that tutorials teach: itertools.product, Keras and an MLflow run for each configuration.

VENV/bin/python benchmarks/peers/plain_loop.py FOLDER
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import keras
import mlflow
import network
import task


def main(folder: Path) -> None:
    problem = task.read(folder)
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment(problem.name)
    losses = []
    for values in itertools.product(*problem.axes.values()):
        settings = problem.fixed | dict(zip(problem.axes, values, strict=True))
        keras.utils.clear_session()
        with mlflow.start_run():
            mlflow.log_params(settings)
            keras.utils.set_random_seed(0)
            model = network.build(problem.sizes, **{name: settings[name] for name in task.NETWORK})
            stopping = keras.callbacks.EarlyStopping(patience=problem.patience, restore_best_weights=True)
            best = keras.callbacks.ModelCheckpoint(folder / "best.keras", save_best_only=True)
            history = model.fit(
                problem.train,
                problem.train_target,
                validation_data=(problem.validation, problem.validation_target),
                epochs=problem.epochs,
                batch_size=settings["batch_size"],
                callbacks=[stopping, best],
                verbose=0,
            ).history
            for epoch in range(len(history["loss"])):
                mlflow.log_metrics({name: curve[epoch] for name, curve in history.items()}, step=epoch + 1)
            mlflow.keras.log_model(model, name="model")
        losses.append(min(history["val_loss"]))
    task.write(folder, min(losses), len(losses))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
