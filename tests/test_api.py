"""The Python API: the same work as the command, from a frame to a forecast, without ceremony."""

from __future__ import annotations

import doctest
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pandas as pd
import pytest
import warm_python
import yaml

import gridcast
from gridcast import config
from gridcast.api.events import RunEvents
from gridcast.api.running import failure_sentence, keyboard_interrupt
from gridcast.runtime.errors import ConfigError, DataError, GridcastError, Interrupted, UnknownModel
from gridcast.sweep import records
from gridcast.tracking import mlflow_runs, promotion, registry, run_recording
from gridcast.tracking.store import open_store
from small_experiments import SMALL, readings, sales, settings, watched
from untrained_models import untrained_detector_files

pytestmark = pytest.mark.usefixtures("jax_backend")

FRAME = sales(130)
CONTENT = settings(
    "sales.csv",
    **SMALL,
    name="retail_daily",
    grid={"learning_rate": [0.01, 0.0001]},
    baselines=["last value"],
    selection={"promote_to": "retail-daily", "when_beaten": "warn"},
)
PROJECT = Path(__file__).parent.parent
QUICKSTART, PAGE = PROJECT / "docs" / "quickstart.py", PROJECT / "docs" / "how-to" / "python.md"


@dataclass(frozen=True)
class Shop:
    """A project in `folder` with a finished sweep, made by `run` from a frame, and a detector `plant`."""

    folder: Path
    sweep: Any
    events: list[str]


class Told(RunEvents):
    """Keeps the names of the callbacks, in their order."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def planned(self, plan: Any) -> None:
        self.names.append(f"planned {len(plan.runs)}")

    def started(self, done: int, todo: int, cost: float) -> None:
        self.names.append(f"started {todo}")

    def swept(self, result: Any, seconds: float) -> None:
        self.names.append(f"swept {result.trained}")

    def promoted(self, promotion: Any) -> None:
        self.names.append(f"promoted {promotion.version}")

    def ended(self, sweep: Any) -> None:
        self.names.append(f"ended {sweep.name}")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Iterator[Shop]:
    import mlflow

    folder, before = tmp_path_factory.mktemp("shop"), mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        FRAME.to_csv("sales.csv", index=False)
        Path("experiments").mkdir()
        Path("experiments", "retail_daily.yaml").write_text(yaml.safe_dump(CONTENT | {"data": data_from("../")}))
        register_detector(folder)
        events = Told()
        yield Shop(folder, gridcast.run(CONTENT, data=FRAME, workers=1, progress=events), events.names)
        mlflow.set_tracking_uri(before)


def data_from(folder: str) -> dict[str, Any]:
    return CONTENT["data"] | {"source": f"{folder}sales.csv"}


def register_detector(folder: Path) -> None:
    """Make a detector champion of `plant`, and a folder `feed` with readings for it."""
    planned = watched(folder, readings())
    files = untrained_detector_files(planned, folder)
    store = open_store("plant")
    parent = mlflow_runs.open_sweep(store, records.sweep_entry(planned))
    entry = run_recording.RunEntry("own", "run", "key", files=files, backend="jax")
    run = store.client.get_run(run_recording.record_run(store, parent, entry))
    model_id = registry.logged_model_id(store.client, run)
    about = {"verb": "promotion", "tags": {}, "card": "", "expected": None}
    promotion.register_champion(store.client, "plant", run, model_id=model_id, **about)
    Path("feed").mkdir()
    readings(60).drop(columns="anomaly").to_csv("feed/0.csv", index=False)


# The package


def test_the_public_names_are_these():
    assert gridcast.__all__ == [
        *("Experiment", "GridForecaster", "Sweep", "__version__", "backtest", "detect", "follow", "load"),
        *("monitor", "plan", "promote", "report", "rollback", "run", "validate"),
    ]
    assert set(gridcast.__all__) <= set(dir(gridcast))
    assert {getattr(gridcast, name).__doc__ is not None for name in gridcast.__all__} == {True}


def test_a_name_that_it_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'gridcast' has no attribute 'fit'"):
        gridcast.fit  # noqa: B018


def test_the_import_loads_nothing():
    code = "import sys, gridcast; print([name for name in sys.modules if name.startswith(('gridcast.', 'numpy'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


EXAMPLES = {
    "gridcast.api.running": ["run"],
    "gridcast.api.sweeps": ["validate", "plan", "report", "promote", "rollback"],
    "gridcast.api.models": [
        "load",
        "LoadedForecaster",
        "LoadedForecaster.predict",
        "LoadedDetector.predict",
    ],
    "gridcast.api.backtest": ["backtest"],
    "gridcast.api.monitor": ["monitor"],
    "gridcast.api.detection": ["follow"],
    "gridcast.api.detections": ["detect", "Detections"],
    "gridcast.api.estimator": ["GridForecaster"],
    "gridcast.api.finished_sweep": ["Sweep"],
    "gridcast.config.experiment": ["Experiment"],
}


@pytest.mark.parametrize("name", [f"{module}.{name}" for module, names in EXAMPLES.items() for name in names])
def test_the_example_of_a_public_name_runs(shop, name, monkeypatch):
    if name == "gridcast.api.sweeps.report":
        monkeypatch.setattr("gridcast.reporting.report.draw_figures", lambda *_: {})  # `run` has drawn them
    module = next(module for module in EXAMPLES if name.startswith(f"{module}."))
    value = import_module(module)
    for part in name.removeprefix(f"{module}.").split("."):
        value = getattr(value, part)
    later = sales(160)
    variables = {"gridcast": gridcast, "frame": FRAME, "later": later, "readings": readings(60)}
    [example] = doctest.DocTestFinder(recurse=False).find(value, name, globs=variables)
    assert example.examples
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failures: list[str] = []
    doctest.DocTestRunner(optionflags=flags).run(example, out=failures.append)
    assert "".join(failures) == ""


def test_every_public_name_has_an_example():
    described = {name for names in EXAMPLES.values() for name in names}
    assert set(gridcast.__all__) - {"__version__"} <= described


# The sweep


def test_the_callbacks_come_in_the_order_of_the_results(shop):
    assert shop.events == ["planned 2", "started 2", "swept 2", "promoted 1", "ended retail_daily"]


def test_a_sweep_holds_what_the_report_says(shop):
    sweep, leaders = shop.sweep, shop.sweep.leaderboard()
    assert leaders["best_val_loss"].is_monotonic_increasing
    assert sweep.best.run_id == leaders["run_id"][0]
    assert sweep.best.configuration["learning_rate"] == leaders["learning_rate"][0]
    assert sweep.best.metrics["best_val_loss"] == leaders["best_val_loss"][0]
    assert np.isfinite(sweep.best.metrics["test_mase"])
    assert sweep.report.read_text().count(sweep.best.name) > 0
    assert "It is the champion: retail-daily version 1" in " ".join(sweep.verdict)
    assert sweep.failure == ""
    assert pd.read_csv(sweep.report.with_name("leaderboard.csv"))["run_id"].tolist() == leaders["run_id"].tolist()


def test_a_figure_is_found_by_its_name_and_a_wrong_one_lists_those_that_exist(shop):
    figure = shop.sweep.plot("model_comparison")
    assert isinstance(figure, matplotlib.figure.Figure)
    assert figure.get_facecolor() == (1, 1, 1, 1)
    with pytest.raises(
        ConfigError, match=r"no figure 'model_comparisn'; did you mean 'model_comparison'\?.*cost_quality"
    ):
        shop.sweep.plot("model_comparisn")


def test_a_frame_leads_to_the_run_keys_of_the_same_rows_in_a_file(shop):
    of_file = gridcast.validate("experiments/retail_daily.yaml")
    of_frame = gridcast.validate(CONTENT, data=FRAME)
    assert of_frame.runs.keys() == of_file.runs.keys()
    other = FRAME.assign(quantity=FRAME["quantity"] + 1)
    assert gridcast.validate(CONTENT, data=other).runs.keys().isdisjoint(of_file.runs)
    assert gridcast.validate(CONTENT, data=FRAME.set_index("date")).runs.keys() == of_file.runs.keys()


def test_the_experiment_may_be_a_path_a_dict_or_an_experiment(shop):
    path = Path("experiments", "retail_daily.yaml")
    keys = gridcast.validate(path).runs.keys()
    for experiment in (str(path), CONTENT, config.read(path)):
        assert gridcast.validate(experiment).runs.keys() == keys
    without_source = CONTENT | {"data": {key: value for key, value in CONTENT["data"].items() if key != "source"}}
    assert gridcast.validate(without_source, data=FRAME).runs.keys() == keys
    assert gridcast.validate(without_source, data="sales.csv").runs.keys() == keys


def test_the_recorded_experiment_says_that_the_data_were_a_frame(shop):
    text = mlflow_runs.read_artifact(shop.sweep.store, shop.sweep.sweep_id, "experiment.yaml").decode()
    assert config.parse(text).data.source == "the DataFrame"
    with pytest.raises(DataError, match=r"the sweep read a DataFrame, which no file holds; give it again .*data=frame"):
        gridcast.promote("retail-daily")
    assert gridcast.promote("retail-daily", data=FRAME).already_champion


def test_an_experiment_survives_the_way_to_text_and_back():
    typed = config.parse(yaml.safe_dump(CONTENT))
    assert config.parse(config.experiment_text(typed)) == typed
    odd = CONTENT | {"grid": {"units": (np.int64(4), 8)}, "data": CONTENT["data"] | {"source": Path("sales.csv")}}
    assert config.parse(config.experiment_text(odd)).grid == ({"units": (4, 8)},)
    dated = CONTENT | {"data": CONTENT["data"] | {"select": {"start": pd.Timestamp("2023-02-01")}}}
    assert config.parse(config.experiment_text(dated)).data.select.start == "2023-02-01"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"experiment": 3}, "experiment: expected a path, an Experiment or a dict, got int 3"),
        ({"experiment": "missing.yaml"}, "missing.yaml: no such experiment file"),
        ({"experiment": {"version": 1}}, "experiment: name: is missing"),
        ({"experiment": CONTENT | {"grid": {"units": [len]}}}, "<built-in function len> is a builtin_.*, which a YAML"),
        ({"experiment": CONTENT, "data": [1]}, "data: expected a pandas DataFrame or a path, got list"),
        ({"experiment": CONTENT, "data": FRAME, "backend": "jaxx"}, "'jaxx' is not allowed; did you mean 'jax'"),
        ({"experiment": CONTENT, "data": FRAME, "workers": 0}, "--workers: must be from 1 to 1,024"),
        ({"experiment": CONTENT, "data": FRAME, "workers": 10**6}, "--workers: must be from 1 to 1,024"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_done(shop, arguments, message):
    with pytest.raises(ConfigError, match=message):
        gridcast.run(**arguments, progress=False)


def test_what_is_wrong_with_a_frame_is_said_by_row_and_column(shop):
    spoiled = FRAME.astype({"quantity": object})
    spoiled.loc[4, "quantity"] = "many"
    with pytest.raises(DataError, match="the DataFrame, row 5, column 'quantity': 'many' "):
        gridcast.validate(CONTENT, data=spoiled)


def test_failures_are_named():
    assert failure_sentence(0, 4, {}) == ""
    assert failure_sentence(1, 4, {"ETS": "killed"}) == (
        "1 of 4 runs failed and 1 baseline failed and cannot be compared with (ETS: killed); "
        "see the reasons above or in MLflow"
    )


# Models


def test_every_name_of_a_model_loads_it(shop):
    for name in ("retail-daily", "models:/retail-daily@champion", "experiments/retail_daily.yaml"):
        assert gridcast.load(name).reference.version == "1"
    assert gridcast.load(f"runs:/{shop.sweep.best.run_id}/model").series == ("apple", "pear")
    with pytest.raises(UnknownModel, match="no registered model 'retail'; did you mean 'retail-daily'"):
        gridcast.load("retail")


def test_a_model_reads_frames_and_files_alike_and_leaves_no_trace_of_keras(shop):
    of_file, of_frame = shop.sweep.forecaster.predict("sales.csv"), shop.sweep.forecaster.predict(FRAME)
    pd.testing.assert_frame_equal(of_file, of_frame)
    assert len(of_file) == 4
    with pytest.raises(ConfigError, match="'retail_daily': the winner is a forecaster; use sweep.forecaster"):
        shop.sweep.detector  # noqa: B018


def test_a_series_that_cannot_be_forecast_raises_or_is_marked(shop):
    short = FRAME[(FRAME["product"] == "apple") | (FRAME.index % 130 > 126)]
    with pytest.raises(DataError, match="the DataFrame: .*pear.*; problems='column' forecasts the others"):
        shop.sweep.forecaster.predict(short)
    marked = shop.sweep.forecaster.predict(short, problems="column")
    assert marked.groupby("product")["forecast"].count().to_dict() == {"apple": 2, "pear": 0}
    assert marked.loc[marked["product"] == "pear", "problem"].str.contains("pear").all()


def test_an_estimator_is_cloned_by_its_parameters():
    from sklearn.base import clone

    model = gridcast.GridForecaster(CONTENT, workers=2)
    assert clone(model.set_params(workers=3)).get_params() == model.get_params()
    with pytest.raises(ValueError, match="no parameter 'epochs'"):
        model.set_params(epochs=3)
    with pytest.raises(GridcastError, match="not fitted yet"):
        model.predict(FRAME)


# Scripts of strangers: no main guard, no set-up


FAST = '"baseline": {"units": 4}, "baselines": "last value", "training": {"epochs": 3, "patience": 3},'


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the quickstart, on two worker processes, with networks that are trained in no time."""
    folder = tmp_path_factory.mktemp("script")
    FRAME[["date", "product", "quantity"]].to_csv(folder / "sales.csv", index=False)
    text = QUICKSTART.read_text()
    for words, others in (('    "grid"', f'    {FAST}\n    "grid"'), ("data=frame", "data=frame, workers=2")):
        assert words in text
        text = text.replace(words, others)
    (folder / "quickstart.py").write_text(f"print('once')\n{text}")
    return folder


def environment() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "KERAS_BACKEND")}


@pytest.mark.slow  # the command has the same test: tests/test_end_to_end.py
def test_ctrl_c_ends_with_keyboard_interrupt_and_no_worker_is_left(script):
    command = [sys.executable, "quickstart.py"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    lines, interrupted_at = [], 0.0
    with subprocess.Popen(command, cwd=script, env=environment(), text=True, **pipes) as started:
        for line in started.stderr:  # to its end: workers hold the pipe open as long as they live
            lines.append(line)
            if line.startswith("  1/4 "):
                started.send_signal(signal.SIGINT)  # to this process alone, as a notebook's kernel gets it
                interrupted_at = time.monotonic()
    assert time.monotonic() - interrupted_at < 20
    assert started.returncode != 0
    assert "KeyboardInterrupt: interrupted with" in lines[-1]
    assert "the same command continues with the rest" in lines[-1]


def test_the_quickstart_runs_in_worker_processes_that_do_not_run_it_again(script):
    assert len(QUICKSTART.read_text().splitlines()) <= 15
    assert "{literalinclude} ../quickstart.py" in PAGE.read_text()
    done = warm_python.run([sys.executable, "quickstart.py"], cwd=script, env=environment())
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("once") == 1
    assert "LSTM-4 b32 lr0.01 d0.2" in done.stdout
    assert "4/4 " in done.stderr or "runs are finished already" in done.stderr
    assert "rolled_forward" in done.stdout
    assert (script / "interactions.png").stat().st_size > 1000


def test_an_interrupted_sweep_raises_what_python_raises_on_ctrl_c():
    with pytest.raises(KeyboardInterrupt, match="interrupted with 1 of 4 runs finished"), keyboard_interrupt():
        raise Interrupted("interrupted with 1 of 4 runs finished")


def test_functions_given_in_python_are_checked_before_anything_is_trained(jax_backend):
    experiment = {
        "version": 1,
        "name": "own",
        "window": {"lookback": 7},
        "data": {"time": "date", "series": "product", "target": "quantity"},
        "grid": {"layer": ["mine"]},
    }

    def flat(sequence, configuration):
        return sequence

    with pytest.raises(ConfigError, match=r"test_api.py, line \d+.*\(None, 7, "):
        gridcast.run(experiment, data=sales(60), networks={"mine": flat}, progress=False)
    with pytest.raises(ConfigError, match="plugins: 'network' is no kind; did you mean 'networks'"):
        gridcast.validate(experiment, data=sales(60), plugins={"network": {"mine": flat}})
