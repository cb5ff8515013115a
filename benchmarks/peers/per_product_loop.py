"""The loop that tutorials teach, product by product: every configuration, an MLflow run of each, the best model kept.

VENV/bin/python benchmarks/peers/per_product_loop.py FOLDER CODE...

Each CODE is that of a product. Writes the lowest validation loss of each by name, and the seconds
of the loop alone, with those that went into logging models.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path

import keras
import mlflow
import network
import numpy as np
import task


def main(folder: Path, codes: list[int]) -> None:
    problem = task.read(folder)
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment(problem.name)
    begun, logging, best = time.perf_counter(), 0.0, {}
    for code in codes:
        losses, path = [], folder / f"{problem.series[code]}.keras"
        train, train_target = of_product(problem.train, problem.train_target, code)
        validation, validation_target = of_product(problem.validation, problem.validation_target, code)
        for values in itertools.product(*problem.axes.values()):
            settings = problem.fixed | dict(zip(problem.axes, values, strict=True))
            keras.utils.clear_session()
            with mlflow.start_run():
                mlflow.log_params(settings | {"product": problem.series[code]})
                keras.utils.set_random_seed(0)
                model = network.build(problem.sizes | {"series": 1}, **{name: settings[name] for name in task.NETWORK})
                history = model.fit(
                    train,
                    train_target,
                    validation_data=(validation, validation_target),
                    epochs=problem.epochs,
                    batch_size=settings["batch_size"],
                    callbacks=[keras.callbacks.EarlyStopping(patience=problem.patience, restore_best_weights=True)],
                    verbose=0,
                ).history
                for epoch in range(len(history["loss"])):
                    mlflow.log_metrics({name: curve[epoch] for name, curve in history.items()}, step=epoch + 1)
            losses.append(min(history["val_loss"]))
            if losses[-1] == min(losses):
                model.save(path)
        started = time.perf_counter()
        with mlflow.start_run(run_name=f"best of {problem.series[code]}"):
            mlflow.keras.log_model(keras.saving.load_model(path), name="model")
        logging += time.perf_counter() - started
        best[problem.series[code]] = min(losses)
    seconds = time.perf_counter() - begun
    (folder / "result.json").write_text(json.dumps({"best": best, "seconds": seconds, "logging_seconds": logging}))


def of_product(
    inputs: dict[str, np.ndarray], target: np.ndarray, code: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the inputs and targets of one product, without its code."""
    rows = inputs["series"] == code
    return {name: array[rows] for name, array in inputs.items() if name != "series"}, target[rows]


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(code) for code in sys.argv[2:]])
