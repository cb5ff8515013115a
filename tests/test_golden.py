"""Run keys and learnt weights equal those in `golden.json`, which were first recorded by commit a5b2b02.

A change in the weights that the same settings give must raise the semantics version; otherwise a sweep would mix runs
of two kinds under one run key. After raising it, write the file again:

    .venv/bin/python tests/test_golden.py
"""

from __future__ import annotations

import contextlib
import json
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gridcast import config
from gridcast.sweep import plan

GOLDEN = Path(__file__).with_name("golden.json")
TABLES = GOLDEN.parent / "former" / "state.tar.xz"
PINNED = json.loads(GOLDEN.read_text())
REMEDY = (
    "If that is meant, raise the semantics version (SEMANTICS, PROBABILISTIC_SEMANTICS or DETECTION_SEMANTICS beside "
    "`run_key`) and renew the golden file: .venv/bin/python tests/test_golden.py"
)
# Processors add float32 in different orders: after two epochs, weights trained with SSE4.2, AVX2 and AVX-512 differ by
# 1e-6 at most. Another seed or initialisation changes some weight of each network by 0.9 or more.
RTOL, ATOL = 1e-3, 1e-4


@contextlib.contextmanager
def tables() -> Iterator[None]:
    """Work in a folder with the tables that the experiments read."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), tarfile.open(TABLES) as archive:
        for name in ("sales.csv", "pump.csv"):
            archive.extract(name, filter="data")
        yield


def planned(name: str) -> Any:
    """The plan of an experiment of the golden file."""
    text = PINNED["experiments"][name]["text"]
    return plan.make_plan(config.parse(text), text, "jax")


def weights(dataset: Any, *runs: Any) -> list[list[np.ndarray]]:
    """The weights, flat, that each of some runs of one program learns, one after the other."""
    import keras

    from gridcast.training import fused_fit

    outcomes = fused_fit.train(dataset, list(runs), state_paths=[None] * len(runs), siblings=1)
    path, learnt = Path("model.keras"), []
    for outcome in outcomes:
        path.write_bytes(outcome.files["model.keras"])
        learnt.append([array.ravel() for array in keras.models.load_model(path).get_weights()])
    return learnt


def near(learnt: list[np.ndarray], golden: list[np.ndarray]) -> bool:
    shapes = [[array.shape for array in arrays] for arrays in (learnt, golden)]
    return shapes[0] == shapes[1] and all(
        np.allclose(one, other, RTOL, ATOL) for one, other in zip(learnt, golden, strict=True)
    )


@pytest.mark.parametrize("name", PINNED["experiments"])
def test_run_keys_are_the_recorded_ones(name):
    golden = PINNED["experiments"][name]
    with tables():
        made = planned(name)
    message = f"{name}: finished runs would not be found again. {REMEDY}"
    assert list(made.runs) == golden["runs"], message
    assert made.sweep_key == golden["sweep"], message


@pytest.mark.parametrize("name", PINNED["weights"])
def test_learnt_weights_are_the_recorded_ones_and_another_seed_gives_others(name, jax_backend):
    with tables():
        made = planned(name)
        for key, run in made.runs.items():
            golden = [np.array(array) for array in PINNED["weights"][name][key]]
            learnt, other = weights(made.dataset, run, replace(run, seed=run.seed + 1))
            assert near(learnt, golden), f"{made.run_name(run)} has learnt other weights. {REMEDY}"
            assert not near(other, golden), "another seed gives the same weights, so this test would notice nothing"


def renew() -> None:
    """Write the golden file anew, by the code that is there."""
    from gridcast.training import keras_backend

    with tables():
        keras_backend.start("jax", Path(".gridcast"))
        for name, experiment in PINNED["experiments"].items():
            made = planned(name)
            experiment |= {"runs": list(made.runs), "sweep": made.sweep_key}
            if name in PINNED["weights"]:
                PINNED["weights"][name] = {
                    key: [[float(f"{value:.8g}") for value in array] for array in weights(made.dataset, run)[0]]
                    for key, run in made.runs.items()
                }
    GOLDEN.write_text(json.dumps(PINNED) + "\n")


if __name__ == "__main__":
    renew()
