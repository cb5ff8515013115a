"""From an experiment to its runs."""

import itertools

import pandas as pd
import pytest
import yaml

from gridcast import config
from gridcast.config import Configuration, grid
from gridcast.config.grid import Run
from gridcast.runtime.errors import ConfigError
from gridcast.sweep import plan
from small_experiments import EXPERIMENTS, experiment, planned, sales, watching


def test_the_order_is_that_of_the_file_with_the_last_axis_turning_fastest():
    found = grid.configurations(experiment(grid={"units": [8, 4], "layer": ["LSTM", "GRU"]}))
    assert [(c.units, c.layer) for c in found] == [(8, "LSTM"), (8, "GRU"), (4, "LSTM"), (4, "GRU")]


def test_several_grids_are_united_and_duplicates_removed():
    found = grid.configurations(
        experiment(
            grid=[
                {"layer": ["GRU"], "units": [4, 8]},
                {"layer": ["GRU", "LSTM"], "units": [8], "dropout": [0.1]},  # GRU-8 stands above, 0.1 being the default
            ]
        )
    )
    assert [(c.layer, c.units, c.dropout) for c in found] == [("GRU", 4, 0.1), ("GRU", 8, 0.1), ("LSTM", 8, 0.1)]


def test_values_that_are_equal_as_numbers_are_one_run():
    assert len(grid.expand(experiment(grid={"dropout": [0, 0.0, 0.1], "units": [4, 4]}))) == 2


def test_no_grid_is_one_run_of_the_own_settings():
    found = experiment()
    assert grid.expand(found) == (Run(found.configuration(), 0),)


def test_seeds_multiply_the_runs_and_stand_together():
    found = grid.expand(experiment(grid={"units": [4, 8]}, training={"seeds": [1, 2, 1]}))
    assert [(run.configuration.units, run.seed) for run in found] == [(4, 1), (4, 2), (8, 1), (8, 2)]


def test_the_retail_grid_is_the_product_of_its_axes():
    own = {"bidirectional": False, "layers": 1, "lookback": 7, "optimizer": "adam", "loss": "mse"}
    names = ("layer", "units", "dropout", "learning_rate", "batch_size", "attention")
    values = (("GRU", "LSTM"), (32, 64, 128), (0.1, 0.2, 0.3), (0.001, 0.0005, 0.0001), (32, 64), (False, True))
    expected = [Run(Configuration(**own, **dict(zip(names, v, strict=True))), 0) for v in itertools.product(*values)]
    found = config.read(EXPERIMENTS / "retail_daily.yaml")
    assert len(expected) == 216
    assert list(grid.expand(found)) == expected
    assert grid.axes(found) == ("layer", "attention", "units", "dropout", "learning_rate", "batch_size")


def test_a_setting_with_one_value_is_no_axis():
    assert grid.axes(experiment(grid={"units": [4], "layers": [1, 2]})) == ("layers",)


def key(fingerprint="f", backend="jax", run=0, **sections):
    found = experiment(**sections)
    return grid.run_key(found, grid.expand(found)[run], fingerprint=fingerprint, backend=backend)


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": "g"},
        {"backend": "tensorflow"},
        {"training": {"seeds": [1]}},
        {"training": {"epochs": 3}},
        {"training": {"patience": 1}},
        {"training": {"loss": "mae"}},
        {"window": {"lookback": 6}},
        {"window": {"horizon": 2}},
        {"window": {"stride": 2}},
        {"split": {"train": 0.7, "validation": 0.2}},
        {"transform": {"log1p": True}},
        {"transform": {"scale": "standard"}},
        {"data": {"past": ["price"]}},
        {"data": {"future": ["day_of_week"]}},
        {"data": {"static": ["colour"]}},
        {"data": {"time": "day"}},
        {"data": {"series": ["shop", "product"]}},
        {"data": {"target": "pieces"}},
        {"data": {"frequency": "B"}},
        {"data": {"calendar": "regular"}},
        {"data": {"gaps": "zero"}},
        {"data": {"aggregate": "sum"}},
        {"data": {"zero_runs": "mask"}},
        {"data": {"zero_runs": "feature"}},
        {"grid": {"layer": ["LSTM"]}},
        {"grid": {"bidirectional": [True]}},
        {"grid": {"attention": [True]}},
        {"grid": {"layers": [2]}},
        {"grid": {"units": [5]}},
        {"grid": {"dropout": [0.0]}},
        {"grid": {"learning_rate": [0.02]}},
        {"grid": {"batch_size": [16]}},
        {"grid": {"lookback": [6]}},
        {"grid": {"optimizer": ["rmsprop"]}},
        {"grid": {"loss": ["huber"]}},
    ],
)
def test_the_run_key_changes_with_whatever_decides_the_weights_or_how_the_model_reads_a_table(change):
    assert key(**change) != key()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"data": {"source": "elsewhere.csv"}},
        {"data": {"dates": "iso"}},
        {"data": {"select": {"top": 1}}},  # which the fingerprint tells
        {"selection": {"metric": "best_val_mae"}},
        {"selection": {"promote_to": "shop"}},
        {"grid": {"units": [4, 8]}},  # the first run of it is the same
        {"training": {"seeds": [0, 1]}},
    ],
)
def test_the_run_key_stays_when_the_model_would_be_the_same(change):
    assert key(**change) == key()


def test_the_keys_of_runs_without_folds_and_series_are_those_of_before_there_were_any():
    assert key() == "e41cbf6bee08c4718187c9817530c276b7c6c0cc03b661472db8299134fa2ad7"


def test_folds_and_series_make_runs_with_keys_of_their_own():
    found = experiment(mode="auto", grid={"units": [4, 8]}, split={"folds": 2, "horizon": 5})
    runs = grid.expand(found, ("apple", "pear"))
    assert len(runs) == 2 * 2 * 3
    assert len({grid.run_key(found, run, fingerprint="f", backend="jax") for run in runs}) == len(runs)
    assert [(run.fold, run.series) for run in runs[:2]] == [(0, None), (1, None)]
    assert {run.series for run in grid.expand(experiment(mode="local"), ("apple", "pear"))} == {"apple", "pear"}


def test_runs_of_single_series_share_a_program_and_runs_of_all_have_another():
    own = experiment().configuration()
    faster = own.model_copy(update={"learning_rate": 0.5, "dropout": 0.5})
    assert grid.shared_program(Run(own, 0, series="apple")) == grid.shared_program(Run(faster, 3, series="pear"))
    assert grid.shared_program(Run(own, 0, series="apple")) != grid.shared_program(Run(own, 0))
    assert grid.shared_program(Run(own, 0, fold=1)) != grid.shared_program(Run(own, 0))


def test_a_shared_program_is_its_own():
    for series in (None, "apple"):
        program = grid.shared_program(Run(experiment().configuration(), 3, 2, series))
        assert grid.shared_program(program) == program
        assert (program.configuration.units, program.fold) == (4, 2)


def test_the_meaning_of_blanks_changes_the_key_unless_it_is_that_of_former_versions():
    assert key(data={"blanks": "ffill"}) == key()
    assert key(data={"blanks": "zero"}) != key()


def test_run_keys_are_sha256_digests_and_differ_within_a_grid():
    found = [key(run=n, grid={"units": [4, 8], "layer": ["GRU", "LSTM"]}) for n in range(4)]
    assert len(set(found)) == 4
    assert all(len(text) == 64 and set(text) <= set("0123456789abcdef") for text in found)


def test_the_keys_of_runs_from_before_are_found_again(tmp_path):
    """As gridcast 0.1 wrote them: a change of either orphans every run that anybody has trained."""
    frame = sales(60).assign(shelf="s1")
    data = {"past": ["price"], "future": ["day_of_week", "between:2023-02-01:2023-02-03"], "static": ["shelf"]}
    found = planned(tmp_path, frame, data=data)
    assert found.fingerprint == "9d71af763453e06ac091c7fc4646ef418380eedf888259003f8f63b0fe4a26ec"
    assert found.reference_key == "8283122d7f61382b22136fc1f1762670a9e8dae3a5017e4c4789a774389821e9"
    unset = data | {"aggregate": "none", "zero_runs": "none"}
    assert planned(tmp_path, frame, data=unset).reference_key == found.reference_key


def test_the_keys_of_runs_whose_covariates_are_read_within_bounds_are_found_again():
    found = experiment()
    run = grid.expand(found)[0]
    plain, bounded = (
        grid.run_key(found, run, fingerprint="f", backend="jax", has_bounded_covariates=is_bounded)
        for is_bounded in (False, True)
    )
    assert plain == grid.run_key(found, run, fingerprint="f", backend="jax")
    assert bounded == "6a1d5f8e8c455f4a4a8a8b812d8a3d8d5af62f87ebf3ed5fa612d7a8828da870"


def test_the_keys_of_probabilistic_runs_from_before_are_found_again():
    found = experiment(task="probabilistic")
    own = grid.run_key(found, grid.expand(found)[0], fingerprint="f", backend="jax")
    assert own == "78c4ebda53aa02e923565affe53c30f42c2463fa50b786b047520b88f26c03ac"


def test_the_likelihood_and_what_is_asked_of_it_change_the_key():
    sections = [{"baseline": {"likelihood": name}} for name in ("student-t", "gaussian", "quantile")]
    sections += [{"probabilistic": {"paths": 50}}, {"training": {"steps": 7}}, {"training": {"decay": "cosine"}}]
    sections += [{"baseline": {"scaling": "mean"}}]
    found = [experiment(task="probabilistic", **own) for own in sections]
    assert len({grid.run_key(one, grid.expand(one)[0], fingerprint="f" * 64, backend="jax") for one in found}) == 7


def test_new_and_former_names_of_keys_give_the_same_run_keys_params_and_records():
    new = experiment(data={"zero_runs": "mask"})
    former = experiment(data={"exhibition": "mask"})
    assert new == former
    assert key(data={"zero_runs": "mask"}) == key(data={"exhibition": "mask"})
    assert new.data.model_dump()["exhibition"] == "mask"
    new, former = (
        config.parse(yaml.safe_dump(watching(anomaly=words)))
        for words in ({"min_steps": 3, "merge_gap": 6}, {"least": 3, "gap": 6})
    )
    keys = [grid.run_key(one, grid.expand(one)[0], fingerprint="f", backend="jax") for one in (new, former)]
    # The key of version 0.1.0, which had the former names alone.
    assert keys == ["aa2d4cca596fcc0f7513929408c6c92a28d0b69b82d8bdcd610ac6f6046214c1"] * 2
    rule = {"threshold": "mean-std", "level": None, "false_alarms": None}
    assert new.anomaly.model_dump() == rule | {"least": 3, "gap": 6}


def test_the_keys_of_series_whose_names_have_slashes_are_those_of_version_0_1_0(tmp_path, monkeypatch):
    """It joined key columns without escapes; the order of series and the days of holidays count as well."""
    monkeypatch.chdir(tmp_path)
    days, keys = pd.date_range("2023-01-01", periods=40), [("a/b", "c"), ("a!", "x"), ("a", "z\\y"), ("n", "m")]
    rows = [
        (f"{day:%Y-%m-%d}", shop, product, float((step * 7 + number * 3) % 11 + number))
        for number, (shop, product) in enumerate(keys)
        for step, day in enumerate(days)
    ]
    pd.DataFrame(rows, columns=["date", "shop", "product", "quantity"]).to_csv("shops.csv", index=False)
    text = """version: 1
name: shops
mode: local
data: {source: shops.csv, time: date, series: [shop, product], target: quantity, future: ["holidays:GB"]}
window: {lookback: 5}
grid: {units: [2]}
"""
    found = plan.make_plan(config.parse(text), text, "jax")
    assert found.panel.series == ("a!/x", "a\\/b/c", "a/z\\\\y", "n/m")
    assert found.fingerprint == "30d0a1356dab034b5e5be8bc63e3be54b0d23eb86e51b498691682b3f1493c1a"
    assert list(found.runs) == [
        "20747eb15ba0c5314cd71e35bc44e7913333fa8eddbc84cd11bea9823236c183",
        "fe6021f552e5973804c357dbb7fa50b7551ecd51c5a03f49bd5e309987d87094",
        "9a9b28e117e0e2b4b3172fe94d9b76da6522ecb1c88300548affe5fb5146aeba",
        "4b3db3b4c44414bfcfca66ad65676b01abefe6545a639903935f01a371239bc7",
    ]


def test_series_whose_plain_ids_coincide_have_runs_and_keys_of_their_own(tmp_path):
    frame = pd.concat(
        [sales(60, ("c",)).assign(shop="a/b"), sales(60, ("b/c",), seed=1).assign(shop="a")], ignore_index=True
    )
    found = planned(tmp_path, frame, data={"series": ["shop", "product"]}, mode="local")
    assert set(found.panel.series) == {"a\\/b/c", "a/b\\/c"}
    assert len(found.runs) == 2


def test_a_layer_is_not_trained_twice_for_settings_that_it_does_not_have():
    axes = {"bidirectional": [False, True], "attention": [True], "layers": [1, 2]}
    found = grid.configurations(experiment(grid={"layer": ["GRU", "linear", "nhits"], **axes}))
    of_layer = {name: [one for one in found if one.layer == name] for name in ("GRU", "linear", "nhits")}
    assert {name: len(ones) for name, ones in of_layer.items()} == {"GRU": 4, "linear": 1, "nhits": 2}
    assert not any(one.attention or one.bidirectional for name in ("linear", "nhits") for one in of_layer[name])


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"grid": {"layer": ["linear"], "attention": [True]}},
            "grid.attention: belongs to layer GRU or LSTM, and only",
        ),
        (
            {"grid": {"layer": ["linear"], "layers": [2]}},
            "grid.layers: belongs to layer GRU or LSTM or nhits, and only",
        ),
        (
            {"task": "probabilistic", "grid": {"layer": ["GRU", "nhits"]}},
            "likelihood: student-t is not supported with layer: nhits .*; write likelihood: quantile, or give ",
        ),
        (
            {"task": "probabilistic", "grid": [{"layer": ["GRU"]}, {"layer": ["linear"], "likelihood": ["gaussian"]}]},
            "likelihood: gaussian is not supported with layer: linear ",
        ),
    ],
)
def test_a_setting_that_a_direct_network_cannot_have_is_refused_with_the_remedy(sections, message):
    with pytest.raises(ConfigError, match=message):
        experiment(**sections)


def test_the_remedy_for_sample_paths_works():
    grids = [{"layer": ["GRU"]}, {"layer": ["linear", "nhits"], "likelihood": ["quantile"]}]
    found = experiment(task="probabilistic", grid=grids, selection={"metric": "best_val_wql"})
    assert len(grid.configurations(found)) == 3


def test_a_detector_cannot_be_a_network_that_only_forecasts():
    with pytest.raises(ConfigError, match="layer: nhits is not supported with task: anomaly .*; write GRU or LSTM"):
        config.parse(yaml.safe_dump(watching(grid={"layer": ["nhits"]})))
