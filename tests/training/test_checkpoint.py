"""Interrupted runs go on where they were, to the same bits."""

import contextlib
import io
import json
import logging
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import warm_python

from gridcast.config.grid import Run
from gridcast.runtime.errors import GridcastError
from gridcast.training import atomic_bundle
from small_experiments import SMALL, planned, sales, same, with_training

pytestmark = pytest.mark.usefixtures("jax_backend")


class Broken(Exception):
    """Something outside stopped the run."""


@contextlib.contextmanager
def breaking(path, epochs, batches=0):
    """What trains inside can read no more some `batches` after `epochs` epochs have been kept at `path`."""
    from gridcast.training.batches import WindowBatches

    left, read = [batches], WindowBatches.__getitem__

    def look(self, number):
        if kept_epochs(path) >= epochs:
            left[0] -= 1
            if left[0] < 0:
                raise Broken
        return read(self, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WindowBatches, "__getitem__", look)
        yield


def kept_epochs(path):
    return len(state(path)["curves"]["loss"]) if path.exists() else 0


def state(path):
    return json.loads(atomic_bundle.read(path)["state.json"])


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return planned(tmp_path_factory.mktemp("fit"), sales(130), **SMALL)


@pytest.fixture(scope="module")
def dataset(plan):
    return with_training(plan.dataset, checkpoint_seconds=0.0)


@pytest.fixture(scope="module")
def run(plan):
    return plan.reference_run


@pytest.fixture(scope="module")
def undisturbed(dataset, run):
    from gridcast.training import keras_fit

    return keras_fit.train(dataset, run)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "run"


def interrupt(dataset, run, path, epochs, batches=0):
    """Train until some `batches` after `epochs` epochs."""
    from gridcast.training import keras_fit

    with breaking(path, epochs, batches), pytest.raises(Broken):
        keras_fit.train(dataset, run, state_path=path)
    assert kept_epochs(path) == epochs


@pytest.fixture(scope="module")
def kept(dataset, run, tmp_path_factory):
    """What is on the disk of a run that was interrupted after two epochs."""
    path = tmp_path_factory.mktemp("kept") / "run"
    interrupt(dataset, run, path, epochs=2)
    return path.read_bytes()


def put(path, kept):
    path.parent.mkdir()
    path.write_bytes(kept)


def change(path, **files):
    """Exchange some of the files in the state at `path`."""
    atomic_bundle.write(path, atomic_bundle.read(path) | files)


def array(values):
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"layer": "GRU", "optimizer": "rmsprop"}, marks=pytest.mark.slow),
        pytest.param({"layer": "LSTM", "optimizer": "adam"}, marks=pytest.mark.slow),
        pytest.param({"layer": "LSTM", "optimizer": "rmsprop"}, marks=pytest.mark.slow),
        pytest.param({"layer": "GRU", "bidirectional": True, "attention": True, "layers": 2}, marks=pytest.mark.slow),
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_a_run_on_any_layer_and_optimizer_ends_with_the_same_bits(dataset, run, path, settings):
    from gridcast.training import keras_fit

    own = Run(run.configuration.model_copy(update=settings | {"dropout": 0.3}), 0)
    interrupt(dataset, own, path, epochs=2, batches=3)
    resumed = keras_fit.train(dataset, own, state_path=path)
    assert resumed.metrics["epochs_trained"] == 4
    assert same(resumed, keras_fit.train(dataset, own))
    assert not any(path.parent.iterdir())


@pytest.mark.slow
def test_a_run_may_be_interrupted_in_every_epoch_and_after_the_last(dataset, run, undisturbed, path):
    from gridcast.training import keras_fit

    for epochs, batches in ((1, 0), (2, 2), (3, 5), (4, 0)):
        interrupt(dataset, run, path, epochs, batches)
    with breaking(path, epochs=4, batches=1):  # one look at the validation span
        assert same(keras_fit.train(dataset, run, state_path=path), undisturbed)


def test_a_run_interrupted_around_its_early_stop_trains_not_one_epoch_more(dataset, run, path):
    from gridcast.training import keras_fit

    patient = with_training(dataset, epochs=60, patience=2)
    wild = Run(run.configuration.model_copy(update={"learning_rate": 1.0}), 0)
    undisturbed = keras_fit.train(patient, wild)
    last = undisturbed.metrics["epochs_trained"]
    assert undisturbed.metrics["best_epoch"] + 2 == last < 60
    interrupt(patient, wild, path, last - 1, batches=2)
    assert state(path)["stopping"]["wait"] == 1
    interrupt(patient, wild, path, last)
    with breaking(path, last, batches=1):
        assert same(keras_fit.train(patient, wild, state_path=path), undisturbed)


KILLED = """
import os, pathlib, signal, sys
sys.path[:0] = sys.argv[1:3]
from gridcast.training import keras_backend
keras_backend.start("jax", pathlib.Path(sys.argv[3]))
from small_experiments import SMALL, planned, sales, same, with_training
from training.test_checkpoint import breaking
from gridcast.training import keras_fit
plan = planned(pathlib.Path(), sales(130), **SMALL)
path = pathlib.Path(sys.argv[4])
dataset = with_training(plan.dataset, checkpoint_seconds=0.0)
try:
    with breaking(path, epochs=3, batches=1):
        keras_fit.train(dataset, plan.reference_run, state_path=path)
except BaseException:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_is_followed_up_by_another(dataset, run, undisturbed, path, tmp_path, programs):
    from gridcast.training import keras_fit

    here = Path(__file__).parent
    command = [sys.executable, "-c", KILLED, str(here.parent), str(here.parent / "support"), str(programs), str(path)]
    done = warm_python.run(command, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGKILL, "", "")
    assert kept_epochs(path) == 3
    path.with_name(f".{path.name}.4711").touch()  # as if it was just writing
    assert same(keras_fit.train(dataset, run, state_path=path), undisturbed)
    assert not any(path.parent.iterdir())


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (flipped, "damaged, its checksum does not fit"),
        pytest.param(cut, "damaged, its checksum does not fit", marks=pytest.mark.slow),
        (lambda path: change(path, **{"variable-0.npy": array(np.zeros((2, 3), np.float32))}), "is not the state of"),
        pytest.param(
            lambda path: change(path, **{"state.json": json.dumps(state(path) | {"format": 0}).encode()}),
            "is not the",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["flipped", "cut", "shape", "format"],
)
def test_a_damaged_state_is_told_and_the_run_starts_over(dataset, run, undisturbed, path, kept, damage, told, caplog):
    from gridcast.training import keras_fit

    put(path, kept)
    damage(path)
    assert same(keras_fit.train(dataset, run, state_path=path), undisturbed)
    (warning,) = caplog.records
    assert (warning.name, warning.levelno) == ("gridcast", logging.WARNING)
    assert warning.message.startswith(f"{path}: {told}")
    assert warning.message.endswith("; the run starts over")
    assert not any(path.parent.iterdir())


def test_a_state_that_cannot_be_saved_is_told_once_and_training_goes_on(dataset, run, undisturbed, tmp_path, caplog):
    from gridcast.training import keras_fit

    folder = tmp_path / "folder"
    folder.symlink_to(tmp_path / "nowhere")  # neither there nor to be made, on any file system and for any user
    path = folder / "run"
    assert same(keras_fit.train(dataset, run, state_path=path), undisturbed)
    (warning,) = caplog.records
    assert warning.message.startswith(f"{path}: the state of the run cannot be saved ([Errno ")
    assert warning.message.endswith("); training goes on")
    assert [*tmp_path.iterdir()] == [folder]


def test_a_run_may_be_trained_in_parts(dataset, run, undisturbed, path):
    from gridcast.training import keras_fit
    from gridcast.training.result import PausedRun

    for until in (1, 3, 3):
        paused = keras_fit.train(with_training(dataset, checkpoint_seconds=3600.0), run, state_path=path, until=until)
        assert isinstance(paused, PausedRun)
        assert paused.curves == {name: curve[:until] for name, curve in undisturbed.curves.items()}
    assert same(keras_fit.train(dataset, run, state_path=path), undisturbed)
    assert not any(path.parent.iterdir())


def test_nothing_is_saved_before_it_is_time(dataset, run, path):
    from gridcast.training import keras_fit

    rare = with_training(dataset, checkpoint_seconds=3600.0)
    with breaking(path, epochs=0, batches=20), pytest.raises(Broken):
        keras_fit.train(rare, run, state_path=path)
    assert not path.parent.exists()


def test_a_run_out_of_time_fails_at_once_and_goes_on_when_it_is_given_more(dataset, run, undisturbed, path, kept):
    from gridcast.training import keras_fit

    put(path, kept)
    change(path, **{"state.json": json.dumps(state(path) | {"seconds": 121.0}).encode()})
    before = path.read_bytes()
    limited = with_training(dataset, max_minutes=2.0)
    told = r"^exceeded training\.max_minutes \(2\) in epoch 3; raise it, or make the network smaller$"
    with breaking(path, epochs=2, batches=2), pytest.raises(GridcastError, match=told):
        keras_fit.train(limited, run, state_path=path)
    assert path.read_bytes() == before
    resumed = keras_fit.train(with_training(dataset, max_minutes=60.0), run, state_path=path)
    assert same(resumed, undisturbed)
    assert resumed.metrics["fit_seconds"] > 121


def test_numbers_that_are_no_longer_finite_leave_no_state(dataset, run, path, kept, capfd):
    from gridcast.training import keras_fit

    put(path, kept)
    own = np.load(io.BytesIO(atomic_bundle.read(path)["variable-0.npy"]))
    change(path, **{"variable-0.npy": array(np.full_like(own, np.nan))})
    with pytest.raises(GridcastError, match=r"^the loss is no longer finite in epoch 3; a lower learning rate may"):
        keras_fit.train(dataset, run, state_path=path)
    assert not any(path.parent.iterdir())
    assert capfd.readouterr() == ("", "")
