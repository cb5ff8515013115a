"""scikit-learn's GridSearchCV over a SciKeras regressor, on all cores.

VENV/bin/python benchmarks/peers/sklearn_grid.py FOLDER

Nothing is recorded in MLflow, and no network is kept: `refit`, which would train the winner once
more on both spans, is off, so that the work is the same as that of the others.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import network
import numpy as np
import task
from scikeras.wrappers import KerasRegressor
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.preprocessing import FunctionTransformer


class Regressor(KerasRegressor):
    """A regressor whose table of features is cut into the network's three inputs."""

    @property
    def feature_encoder(self) -> FunctionTransformer:
        return FunctionTransformer(cut, kw_args={"sizes": self.model__sizes})


def table(inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Return all inputs in one table (n, features), since scikit-learn takes nothing else."""
    return np.column_stack([inputs[name].reshape(len(inputs[name]), -1) for name in task.INPUTS])


def cut(features: np.ndarray, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Return the network's inputs from the table of features."""
    past = sizes["lookback"] * sizes["channels"]
    return {
        "history": features[:, :past].reshape(-1, sizes["lookback"], sizes["channels"]),
        "ahead": features[:, past:-1].reshape(-1, sizes["horizon"], sizes["ahead"]),
        "series": features[:, -1].astype(np.int32),
    }


def routed(settings: dict[str, object]) -> dict[str, object]:
    """Return the settings under the names by which SciKeras passes them on."""
    return {f"model__{name}" if name in task.NETWORK else name: value for name, value in settings.items()}


def main(folder: Path) -> None:
    problem = task.read(folder)
    regressor = Regressor(
        model=network.build,
        model__sizes=problem.sizes,
        **routed(problem.fixed),
        epochs=problem.epochs,
        callbacks=keras.callbacks.EarlyStopping,
        callbacks__patience=problem.patience,
        callbacks__restore_best_weights=True,
        random_state=0,
        verbose=0,
    )
    features = np.concatenate([table(problem.train), table(problem.validation)])
    target = np.concatenate([problem.train_target, problem.validation_target])
    fold = np.repeat([-1, 0], [len(problem.train_target), len(problem.validation_target)])
    search = GridSearchCV(
        regressor,
        routed(problem.axes),
        scoring="neg_mean_squared_error",
        cv=PredefinedSplit(fold),
        refit=False,
        n_jobs=-1,
    )
    # Early stopping needs the validation windows too.
    search.fit(features, target, validation_data=(problem.validation, problem.validation_target))
    task.write(folder, -search.best_score_, len(search.cv_results_["params"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
