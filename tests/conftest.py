"""Set-up that the tests share."""

import gc
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from gridcast.sweep import worker_process
from gridcast.training import keras_backend

MAX_BYTES = 1.8e9
"""Memory of a test process with which it frees the programs that JAX has compiled in it."""

# Both test processes train: one thread each, as in the workers of a sweep.
os.environ |= worker_process.WORKER_ENVIRONMENT | {"KERAS_BACKEND": "jax"}


def pytest_configure(config: pytest.Config) -> None:
    """Compile without XLA's optimizations, in half the time; where slow tests run, as users do."""
    if config.option.markexpr == "not slow":
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of compiled programs, one for all test processes, so that none compiles a shape anew."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session", autouse=True)
def _programs_of_all_projects(programs: Path) -> None:
    """Sweeps of the tests share their compiled programs too, and the empty tables of MLflow."""
    os.environ |= {"JAX_COMPILATION_CACHE_DIR": str(programs / "jax"), "XDG_CACHE_HOME": str(programs / "cache")}


@pytest.fixture(scope="session")
def jax_backend(programs: Path) -> None:
    """Keras on JAX in this process as a worker has it, without TensorFlow: its import takes seconds."""
    keras_backend.start("jax", programs)


@pytest.fixture
def one_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Served networks are compiled for one size of batches, not for five: each takes a second."""
    from gridcast.serving.models import compiled_network

    monkeypatch.setattr(compiled_network, "BATCH_SIZES", (256,))
    # Nothing is kept for other tests, which need all sizes.
    monkeypatch.setattr(compiled_network, "export_program", compiled_network.export_program.__wrapped__)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium that keeps what pages write to its console."""
    from selenium import webdriver

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium and chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking"):
        options.add_argument(f"--{argument}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('browser') / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.fixture(scope="session", autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Work in a scratch folder: MLflow makes its folders where it stands."""
    os.chdir(tmp_path_factory.mktemp("cwd"))


@pytest.fixture(scope="module", autouse=True)
def _programs_freed_at_the_end(request: pytest.FixtureRequest) -> Iterator[None]:
    """Free programs at the end of a module if they take much memory: those of Keras serve all modules.

    Slow tests free them after each training, as users do, and after each module. The names of layers start again from
    the first either way.
    """
    free, is_quick = keras_backend.free_programs, request.config.option.markexpr == "not slow"
    with pytest.MonkeyPatch.context() as patch:
        if is_quick:
            patch.setattr(keras_backend, "free_programs", _reset_names)
        yield
    if sys.modules.get("keras"):
        is_small = is_quick and psutil.Process().memory_info().rss < MAX_BYTES
        (_reset_names if is_small else free)()


def _reset_names() -> None:
    import keras

    keras.utils.clear_session(free_memory=False)


@pytest.fixture(scope="module", autouse=True)
def _imports_are_not_garbage() -> None:
    """Set aside what lives by now: to go through a large heap again and again takes a tenth of the time."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that none of the test processes ends with one of them alone."""
    names = (
        "end_to_end former_version api registry fused_fit storm wheel faults plugin_example report app local_and_auto "
        "detect_command ensemble golden anomaly_sweep plugin_networks hosts objectives probabilistic_sweep worker_pool "
        "loading champion doctor shared_use_cases checkpoint ingest baselines pages contract architecture recurrent "
        "pool autoregressive online_scores failed_baselines anomalies drift killed forecast_chapters autoencoder ets "
        "confirmation search lease security keras_fit"
    )
    longest = [f"test_{name}.py" for name in names.split()]
    items.sort(key=lambda item: longest.index(item.path.name) if item.path.name in longest else len(longest))
