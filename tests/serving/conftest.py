"""The models that are served here, and a service with one of every kind."""

import fcntl
import json

import pytest

from small_service import KINDS, WATCHED, Shop, build, running


@pytest.fixture(scope="session")
def shop(programs, jax_backend):
    """One for all test processes, made by the first that wants it."""
    folder = programs / "shop"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = folder / "run_ids.json"
        if not made.exists():
            made.write_text(json.dumps(build(folder)))
    return Shop(f"sqlite:///{folder}/mlflow.db", json.loads(made.read_text()))


@pytest.fixture(scope="module")
def server(shop, tmp_path_factory):
    """One with a model of every kind."""
    with running(shop, tmp_path_factory.mktemp("service"), (*KINDS, WATCHED)) as found:
        yield found
