"""Rankings of runs and configurations, against values computed by hand."""

import json
import math

import pandas as pd
import pytest
from made_up_runs import EMPTY, LOSS, four, frame, run

from gridcast.reporting import leaderboard, setting_effects


def test_leaderboard():
    found = leaderboard.ranked_runs(four(), ("layer", "units"), LOSS)
    assert list(found.columns) == [
        *("rank", "name", "layer", "units", "seed", "best_val_loss", "best_val_mae", "best_epoch"),
        *("epochs_trained", "fit_seconds", "parameters", "run_id"),
    ]
    assert found["rank"].tolist() == [1, 2, 3, 4]
    assert found["name"].tolist() == ["GRU 32", "GRU 64", "LSTM 32", "LSTM 64"]
    assert found["best_val_loss"].tolist() == [1, 2, 3, 8]
    assert found.index.tolist() == [0, 1, 2, 3]


def test_leaderboard_follows_the_metric():
    runs = four().assign(best_val_mae=[1.0, 2.0, 4.0, 3.0])
    found = leaderboard.ranked_runs(runs, ("layer", "units"), "best_val_mae")
    assert found["name"].tolist() == ["LSTM 64", "GRU 32", "LSTM 32", "GRU 64"]


def test_leaderboard_breaks_ties_by_key_whatever_the_order():
    runs = frame(run(1.0, units=32), run(1.0, units=16), run(1.0, units=64))
    names = [
        leaderboard.ranked_runs(runs.iloc[order], ("units",), LOSS)["name"].tolist() for order in ([0, 1, 2], [2, 1, 0])
    ]
    assert names == [["16", "32", "64"]] * 2


def test_runs_without_a_finite_metric_are_dropped():
    runs = frame(run(-math.inf, units=16), run(math.nan, units=32), run(math.inf, units=64), run(2.0, units=128))
    assert leaderboard.ranked_runs(runs, ("units",), LOSS)["name"].tolist() == ["128"]
    assert leaderboard.by_configuration(runs, ("units",), LOSS)["name"].tolist() == ["128"]
    assert setting_effects.main_effects(runs, ("units",), LOSS)["value"].tolist() == ["128"]
    assert setting_effects.interaction_table(runs, "units", "layer", metric=LOSS).index.tolist() == [128]


@pytest.mark.parametrize("runs", EMPTY, ids=["no run", "no finite run"])
def test_nothing_to_show(runs):
    axes = ("layer", "units")
    assert len(leaderboard.ranked_runs(runs, axes, LOSS)) == 0
    assert "mean" in leaderboard.by_configuration(runs, axes, LOSS)
    assert len(leaderboard.by_configuration(runs, axes, LOSS)) == 0
    assert setting_effects.main_effects(runs, axes, LOSS).columns.tolist() == [
        "axis",
        "value",
        "mean",
        "std",
        "median",
        "count",
    ]
    assert len(setting_effects.main_effects(runs, axes, LOSS)) == 0
    assert setting_effects.interaction_table(runs, *axes, metric=LOSS).empty
    assert math.isnan(setting_effects.interaction_strength(runs, axes, LOSS)[axes])
    importance = setting_effects.setting_importance(runs, axes, LOSS)
    assert sorted(importance["axis"]) == ["layer", "units"]
    assert importance[["fanova", "variance_share"]].isna().all(axis=None)
    assert not leaderboard.pareto_front(runs, "parameters", LOSS).any()


def test_leaderboard_shows_the_seeds_of_each_runs_configuration():
    runs = frame(run(1.0, 0, units=32), run(3.0, 1, units=32), run(2.5, 0, units=64), run(math.nan, 1, units=64))
    found = leaderboard.ranked_runs(runs, ("units",), LOSS)
    assert found["units"].tolist() == [32, 64, 32]
    assert found["mean"].tolist() == [2.0, 2.5, 2.0]
    assert found["spread"].tolist() == pytest.approx([math.sqrt(2), math.nan, math.sqrt(2)], nan_ok=True)
    assert found["seeds"].tolist() == [2, 1, 2]
    # Losses of different folds say nothing about seeds.
    assert "spread" not in leaderboard.ranked_runs(runs.assign(fold=[0, 1, 0, 1]), ("units",), LOSS)


def test_by_configuration_by_hand():
    # Unit 32: 1, 2, 3, mean 2, sd 1, t(2) = 4.302653 / sqrt(3) = 2.484138.
    runs = frame(
        *(run(loss, seed, seconds=loss, units=32) for seed, loss in enumerate([1.0, 2.0, 3.0])),
        *(run(1.5, seed, parameters=50, units=64) for seed in range(3)),
    )
    found = leaderboard.by_configuration(runs, ("units",), LOSS)
    columns = ["configuration", "name", "units", "mean", "low", "high", "spread", "count", "parameters", "seconds"]
    assert found.columns.tolist() == columns
    assert found["name"].tolist() == ["64", "32"]
    assert found.loc[0, ["mean", "low", "high", "count", "parameters"]].tolist() == [1.5, 1.5, 1.5, 3, 50]
    assert found.loc[1, ["mean", "spread", "count", "seconds"]].tolist() == [2, 1, 3, 2]
    assert found.loc[1, "low"] == pytest.approx(2 - 2.484138, abs=1e-6)
    assert found.loc[1, "high"] == pytest.approx(2 + 2.484138, abs=1e-6)
    assert json.loads(found.loc[1, "configuration"])["units"] == 32


def test_by_configuration_with_one_seed_has_no_interval():
    found = leaderboard.by_configuration(frame(run(2.0, seed=4, units=32)), ("units",), LOSS)
    assert found.loc[0, ["name", "mean", "count"]].tolist() == ["32", 2.0, 1]
    assert found.loc[0, ["low", "high"]].isna().all()


def test_by_configuration_puts_few_seeds_last():
    runs = frame(run(0.1, 0, units=16), *(run(1.0, seed, units=32) for seed in (0, 1)), run(math.nan, 1, units=16))
    assert leaderboard.by_configuration(runs, ("units",), LOSS)["name"].tolist() == ["32", "16"]


def test_pareto_by_hand():
    points = pd.DataFrame(
        [
            (1.0, 5.0, True),
            (1.5, 5.0, False),  # dearer than the first and no better
            (2.0, 3.0, True),
            (2.0, 3.0, True),  # its equal
            (2.0, 4.0, False),
            (3.0, 3.5, False),
            (9.0, 1.0, True),
            (0.5, math.nan, False),
            (math.nan, 0.5, False),
            (0.1, math.inf, False),
            (0.1, -math.inf, False),
        ],
        columns=["cost", "loss", "kept"],
    )
    found = leaderboard.pareto_front(points, "cost", "loss")
    assert found.dtype == bool
    assert found.tolist() == points["kept"].tolist()
    shuffled = points.sample(frac=1, random_state=3)
    assert leaderboard.pareto_front(shuffled, "cost", "loss").tolist() == shuffled["kept"].tolist()


def test_pareto_of_one_row():
    assert leaderboard.pareto_front(frame(run(1.0)), "parameters", LOSS).tolist() == [True]


def test_simplest():
    runs = frame(
        run(1.0, parameters=900, units=64),
        run(1.1, parameters=300, seconds=9, units=32),
        run(1.2, parameters=300, seconds=5, units=16),
        run(9.0, parameters=10, units=8),
    )
    configurations = leaderboard.by_configuration(runs, ("units",), LOSS)
    names = configurations.set_index("configuration")["name"]
    by_name = {name: configuration for configuration, name in names.items()}
    assert names[leaderboard.simplest_configuration(configurations, [by_name[n] for n in ("64", "32", "16")])] == "16"
    assert names[leaderboard.simplest_configuration(configurations, [by_name[n] for n in ("64", "32")])] == "32"
    assert names[leaderboard.simplest_configuration(configurations, {by_name["64"]})] == "64"
    with pytest.raises(ValueError, match="none of these"):
        leaderboard.simplest_configuration(configurations, ["{}"])
