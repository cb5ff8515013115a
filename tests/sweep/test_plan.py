"""What is known before the first epoch."""

import json

import pytest

from gridcast.config import Configuration
from gridcast.config.grid import Run
from gridcast.models import baselines
from gridcast.runtime.errors import ConfigError
from gridcast.sweep import plan, records
from small_experiments import experiment, planned, sales

FRAME = sales(100)
GRID = {"units": [4, 8], "layer": ["GRU", "LSTM"]}


def test_windows_of_each_span_are_counted_without_training(tmp_path):
    found = planned(tmp_path, FRAME, window={"lookback": 7, "horizon": 2})
    # 80, 10 and 10 steps of two series; only the first windows have to wait for their inputs.
    assert found.window_counts(7) == {"train": 2 * (80 - 7 - 1), "validation": 2 * 9, "test": 2 * 9}
    assert found.window_counts(20) == {"train": 2 * (80 - 20 - 1), "validation": 2 * 9, "test": 2 * 9}


def test_runs_stand_under_their_keys_in_the_order_of_the_grid(tmp_path):
    found = planned(tmp_path, FRAME, grid=GRID)
    assert [(run.configuration.units, run.configuration.layer) for run in found.runs.values()] == [
        (4, "GRU"),
        (4, "LSTM"),
        (8, "GRU"),
        (8, "LSTM"),
    ]
    assert found.reference_key == next(iter(found.runs))
    assert found.reference_run == Run(experiment().configuration(), 0)


def test_the_sweep_key_is_that_of_the_work_and_not_of_its_order(tmp_path):
    key = planned(tmp_path, FRAME, grid=GRID).sweep_key
    assert planned(tmp_path, FRAME, grid=dict(reversed(GRID.items())), name="other").sweep_key == key
    assert planned(tmp_path, FRAME, grid=GRID | {"dropout": [0.0]}).sweep_key != key
    assert planned(tmp_path, FRAME, grid=GRID, backend="tensorflow").sweep_key != key
    assert planned(tmp_path, FRAME[FRAME["product"] == "pear"], grid=GRID).sweep_key != key


def test_baselines_have_keys_of_their_own_that_follow_from_data_windows_and_period(tmp_path):
    keys = planned(tmp_path, FRAME).baseline_keys
    assert list(keys) == [plan.OWN_SETTINGS, *baselines.BASELINES]
    assert len(set(keys.values())) == len(keys)
    assert planned(tmp_path, FRAME, grid=GRID).baseline_keys == keys
    assert not set(planned(tmp_path, FRAME, window={"lookback": 6}).baseline_keys.values()) & set(keys.values())
    other = planned(tmp_path, FRAME, data={"period": 5}).baseline_keys
    assert {name for name in keys if other[name] != keys[name]} == set(baselines.SEASONAL_BASELINES)


def test_params_hold_every_axis_and_the_fixed_settings(tmp_path):
    found = planned(tmp_path, FRAME, transform={"log1p": True}, training={"seeds": [5]})
    assert found.run_params(found.reference_run) == {
        "layer": "GRU",
        "bidirectional": False,
        "attention": False,
        "layers": 1,
        "units": 4,
        "dropout": 0.1,
        "learning_rate": 0.01,
        "batch_size": 32,
        "lookback": 7,
        "optimizer": "adam",
        "loss": "mse",
        "seed": 5,
        "horizon": 1,
        "stride": 1,
        "scale": "minmax",
        "log1p": True,
        "epochs": 2,
        "patience": 2,
        "backend": "jax",
    }


def test_what_a_report_needs_to_know_is_plain_json(tmp_path):
    found = planned(tmp_path, FRAME, grid=GRID)
    about = json.loads(records.sweep_files(found)["sweep.json"])
    assert about["run_keys"] == list(found.runs)
    assert about["axes"] == ["layer", "units"]
    assert about["spans"]["validation"] == ["2023-03-23 00:00:00", "2023-04-01 00:00:00"]
    assert about["period"] == 7
    assert about["series"] == ["apple", "pear"]
    assert about["versions"]["keras"].startswith("3.")


@pytest.mark.parametrize(
    ("settings", "seed", "name"),
    [
        ({}, None, "LSTM-64 b32 lr0.001 d0.2"),
        ({"layer": "GRU", "attention": True, "units": 8}, 0, "GRU-8 b32 lr0.001 d0.2 attention"),
        ({"layer": "nhits", "layers": 2}, 0, "nhits-64x2 b32 lr0.001 d0.2"),
        ({"bidirectional": True, "layers": 2, "dropout": 0}, 3, "BiLSTM-64x2 b32 lr0.001 d0 seed3"),
    ],
)
def test_runs_have_short_names(settings, seed, name):
    assert plan.configuration_name(Configuration(lookback=7, **settings), seed) == name


@pytest.mark.parametrize(
    "dearer",
    [{"units": 65}, {"layers": 2}, {"bidirectional": True}, {"lookback": 8}, {"batch_size": 16}],
)
def test_a_larger_network_costs_more(dearer):
    own = {"lookback": 7, "units": 64, "batch_size": 32}
    assert plan.epoch_cost(Configuration(**(own | dearer)), 100) > plan.epoch_cost(Configuration(**own), 100)
    assert plan.epoch_cost(Configuration(**own), 200) == 2 * plan.epoch_cost(Configuration(**own), 100)
    assert plan.epoch_cost(Configuration(**own), 200, max_steps=2) == plan.epoch_cost(Configuration(**own), 64)
    assert plan.epoch_cost(Configuration(**own), 200, max_steps=9) == plan.epoch_cost(Configuration(**own), 200)


def test_direct_networks_cost_less_than_recurrent_ones_and_more_the_larger_they_are():
    def cost(layer, **settings):
        return plan.epoch_cost(Configuration(**({"layer": layer, "lookback": 60} | settings)), 100)

    assert cost("linear") < cost("nhits") < cost("nhits", layers=2) < cost("GRU")
    assert cost("nhits") < cost("nhits", units=128)
    assert cost("linear") < cost("linear", lookback=120)


def test_compiled_epochs_are_refused_where_they_cannot_be_and_else_chosen(tmp_path):
    with pytest.raises(ConfigError, match="training.engine: 'fused' needs the jax backend .got tensorflow."):
        planned(tmp_path, FRAME, backend="tensorflow", training={"engine": "fused"})
    engines = [planned(tmp_path, FRAME, backend=backend).engine for backend in ("jax", "tensorflow")]
    assert engines == ["fused", "stock"]


def test_baselines_are_those_that_the_file_names_and_unknown_ones_are_refused_before_training(tmp_path):
    usual = planned(tmp_path, FRAME)
    named = planned(tmp_path, FRAME, baselines=["Theta"])
    assert set(named.baseline_names) == {*baselines.NAIVE_BASELINES, "Theta"}
    assert planned(tmp_path, FRAME, baselines="auto").baseline_names == usual.baseline_names
    assert named.baseline_keys == usual.baseline_keys
    with pytest.raises(ConfigError, match="baselines.0.: unknown name 'Thta'; did you mean 'Theta'"):
        planned(tmp_path, FRAME, baselines=["Thta"])
