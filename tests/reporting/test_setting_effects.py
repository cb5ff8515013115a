"""Effects of settings, against values computed by hand, SciPy and statsmodels."""

import itertools
import logging
import math

import numpy as np
import optuna
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from made_up_runs import LOSS, RETAIL, four, frame, grid, retail, run
from statsmodels.stats.anova import anova_lm

from gridcast.reporting import leaderboard, setting_effects


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (np.False_, "false"),
        (64, "64"),
        (np.int64(7), "7"),
        (0.0001, "0.0001"),
        (np.float64(0.2), "0.2"),
        (0.12345678, "0.12345678"),
        ("GRU", "GRU"),
    ],
)
def test_text(value, text):
    assert setting_effects.setting_text(value) == text


def test_main_effects_by_hand():
    found = setting_effects.main_effects(four(), ("layer", "units"), LOSS).set_index(["axis", "value"])
    assert found.index.tolist() == [("layer", "GRU"), ("layer", "LSTM"), ("units", "32"), ("units", "64")]
    assert found["mean"].tolist() == [1.5, 5.5, 2.0, 5.0]
    assert found["median"].tolist() == [1.5, 5.5, 2.0, 5.0]
    # sd of 1 and 2: sqrt(0.5); of 3 and 8: 5 / sqrt(2); of 1 and 3: sqrt(2); of 2 and 8: 6 / sqrt(2)
    assert found["std"].tolist() == pytest.approx([math.sqrt(0.5), 5 / math.sqrt(2), math.sqrt(2), 6 / math.sqrt(2)])
    assert found["count"].tolist() == [2, 2, 2, 2]


def test_main_effects_stand_in_natural_order():
    runs = frame(
        run(1.0, units=128, attention=True, learning_rate=0.0001, layer="LSTM"),
        run(1.0, units=64, attention=False, learning_rate=0.001, layer="GRU"),
        run(1.0, units=8, attention=True, learning_rate=0.0005, layer="GRU"),
    )
    found = setting_effects.main_effects(runs, ("units", "attention", "learning_rate", "layer"), LOSS)
    assert found["value"].tolist() == [
        *("8", "64", "128"),
        *("false", "true"),
        *("0.0001", "0.0005", "0.001"),
        *("GRU", "LSTM"),
    ]
    assert found["std"].isna().tolist() == [True, True, True, True, False, True, True, True, False, True]


def test_main_effects_of_one_run():
    found = setting_effects.main_effects(frame(run(2.0, units=32)), ("units",), LOSS)
    assert found[["axis", "value", "mean", "median", "count"]].to_numpy().tolist() == [["units", "32", 2.0, 2.0, 1]]
    assert found["std"].isna().all()


def test_interaction_by_hand():
    found = setting_effects.interaction_table(four(), "layer", "units", metric=LOSS)
    assert found.to_dict("index") == {"GRU": {32: 1.0, 64: 2.0}, "LSTM": {32: 3.0, 64: 8.0}}
    assert (found.index.name, found.columns.name) == ("layer", "units")


def test_interaction_keeps_cells_that_nobody_ran():
    found = setting_effects.interaction_table(four().iloc[:3], "units", "layer", metric=LOSS)
    assert math.isnan(found.loc[32, "LSTM"])
    assert found.loc[32, "GRU"] == 1


def test_interaction_strength_by_hand():
    # About 3.5: 2.5^2 + 1.5^2 + 0.5^2 + 4.5^2 = 29; layers 4 * 2^2 = 16, units 4 * 1.5^2 = 9, left 4.
    found = setting_effects.interaction_strength(four(), ("layer", "units"), LOSS)
    assert found == {("layer", "units"): pytest.approx(4 / 29)}


def test_interaction_strength_of_an_additive_metric_is_zero():
    runs = grid(lambda point: point["units"] + (point["layer"] == "GRU"), units=[8, 16, 32], layer=["GRU", "LSTM"])
    assert setting_effects.interaction_strength(runs, ("units", "layer"), LOSS)["units", "layer"] == pytest.approx(
        0, abs=1e-12
    )


@pytest.mark.parametrize("kept", [1.0, 0.6])
def test_interaction_strength_agrees_with_statsmodels(kept):
    runs = retail(seeds=(0, 1), noise=0.3).sample(frac=kept, random_state=1)
    found = setting_effects.interaction_strength(runs, tuple(RETAIL), LOSS)
    assert list(found) == list(itertools.combinations(RETAIL, 2))
    total = ((runs[LOSS] - runs[LOSS].mean()) ** 2).sum()
    for (a, b), share in found.items():
        models = [smf.ols(f"{LOSS} ~ C({a}) {sign} C({b})", runs).fit() for sign in "+*"]
        assert share == pytest.approx(anova_lm(*models)["ss_diff"][1] / total, abs=1e-10)


def test_interaction_strength_that_cannot_be_told_is_nan():
    runs = frame(run(1.0, units=32, layer="GRU"), run(2.0, units=64, layer="GRU"))
    found = setting_effects.interaction_strength(runs, ("units", "layer"), LOSS)
    assert math.isnan(found["units", "layer"])
    three = four().iloc[:3].assign(best_val_loss=0.1)  # their mean is not 0.1 to the last bit
    same = setting_effects.interaction_strength(three, ("layer", "units"), LOSS)
    assert math.isnan(same["layer", "units"])
    assert setting_effects.interaction_strength(four(), ("layer",), LOSS) == {}


def test_importance_of_the_retail_grid():
    runs = retail(seeds=(0, 1, 2))
    found = setting_effects.setting_importance(runs, tuple(RETAIL), LOSS)
    assert found.columns.tolist() == ["axis", "fanova", "variance_share"]
    assert found["axis"].tolist()[:4] == ["layer", "units", "learning_rate", "batch_size"]
    assert found["fanova"].is_monotonic_decreasing
    # Variances of the effects: layer 0.25^2 = 0.0625; units 0.3^2 * 2 / 9 = 0.02; rate 0.04 * var(0, 0.30103, 1)
    # = 0.04 * 0.17546 = 0.0070; batch 0.05^2 = 0.0025; noise 0.0004: together 0.0924.
    shares = found.set_index("axis")
    expected = {"layer": 0.676, "units": 0.216, "learning_rate": 0.076, "batch_size": 0.027, "dropout": 0.0}
    for axis, share in expected.items():
        assert shares.loc[axis, "variance_share"] == pytest.approx(share, abs=0.01)
        assert shares.loc[axis, "fanova"] == pytest.approx(share, abs=0.02)


def test_variance_share_by_hand_and_by_statsmodels():
    found = setting_effects.setting_importance(four(), ("layer", "units"), LOSS).set_index("axis")["variance_share"]
    assert found.to_dict() == {"layer": pytest.approx(16 / 29), "units": pytest.approx(9 / 29)}
    runs = retail(noise=1.0).sample(frac=0.3, random_state=0)
    shares = setting_effects.setting_importance(runs, tuple(RETAIL), LOSS).set_index("axis")["variance_share"]
    for axis in RETAIL:
        assert shares[axis] == pytest.approx(smf.ols(f"{LOSS} ~ C({axis})", runs).fit().rsquared, abs=1e-10)


def test_importance_gives_axes_of_few_and_of_many_values_the_same_weight():
    # The same effect of 0 or 1, once over two values, once as the steps of four: half the variance each.
    runs = grid(
        lambda point: (point["units"] > 16) + (point["layer"] == "GRU"),
        units=[8, 16, 32, 64],
        layer=["GRU", "LSTM"],
        dropout=[0.1, 0.2, 0.3],
        batch_size=[8, 16, 32, 64],
    )
    found = setting_effects.setting_importance(runs, ("units", "layer", "dropout", "batch_size"), LOSS).set_index(
        "axis"
    )["fanova"]
    assert found.loc[["units", "layer"]].tolist() == pytest.approx([0.5, 0.5], abs=0.03)
    assert found.loc[["dropout", "batch_size"]].tolist() == pytest.approx([0, 0], abs=1e-6)


def test_importance_is_the_same_for_the_same_seed():
    runs = grid(lambda point: point["units"], noise=20.0, layer=["GRU", "LSTM"], units=[8, 16, 32], dropout=[0.1, 0.2])
    first, again, other = (
        setting_effects.setting_importance(runs, ("layer", "units", "dropout"), LOSS, seed) for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(first, again)
    assert not first["fanova"].equals(other["fanova"])


def test_importance_is_quiet_and_leaves_the_loudness_of_optuna_as_it_was():
    said: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("optuna").addHandler(listener)
    own = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(before := optuna.logging.INFO)
    try:
        setting_effects.setting_importance(four(), ("layer", "units"), LOSS)
        assert optuna.logging.get_verbosity() == before
        assert not said
        optuna.create_study()  # it does speak else
        assert len(said) == 1
    finally:
        logging.getLogger("optuna").removeHandler(listener)
        optuna.logging.set_verbosity(own)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_importance_of_few_runs_has_no_fanova(count):
    found = setting_effects.setting_importance(four().iloc[:count], ("layer", "units"), LOSS)
    assert sorted(found["axis"]) == ["layer", "units"]
    assert found["fanova"].isna().all()
    assert found["variance_share"].notna().any() == (count > 1)


def test_importance_of_one_axis():
    runs = grid(lambda point: 1.0 * point["units"], (0, 1), units=[8, 16, 32, 64])
    assert setting_effects.setting_importance(runs, ("units",), LOSS).to_numpy().tolist() == [["units", 1.0, 1.0]]


def test_importance_of_an_axis_with_one_value_is_nan_and_last():
    found = setting_effects.setting_importance(four(), ("attention", "layer", "units"), LOSS)
    assert found["axis"].tolist() == ["layer", "units", "attention"]
    assert found.loc[2, ["fanova", "variance_share"]].isna().all()
    assert found.loc[:1, "fanova"].notna().all()
    alone = setting_effects.setting_importance(four(), ("attention",), LOSS)
    assert alone[["fanova", "variance_share"]].isna().all(axis=None)


def test_importance_of_a_metric_that_does_not_vary_is_nan():
    found = setting_effects.setting_importance(retail().assign(best_val_loss=0.1), tuple(RETAIL), LOSS)
    assert found[["fanova", "variance_share"]].isna().all(axis=None)
    assert setting_effects.setting_importance(four(), (), LOSS).empty


def test_importance_ignores_runs_without_a_finite_metric():
    broken = pd.concat([four(), frame(run(math.inf, units=256), run(math.nan, units=512))], ignore_index=True)
    axes = ("layer", "units")
    pd.testing.assert_frame_equal(
        setting_effects.setting_importance(broken, axes, LOSS), setting_effects.setting_importance(four(), axes, LOSS)
    )


@pytest.mark.parametrize(
    "function",
    [
        leaderboard.ranked_runs,
        leaderboard.by_configuration,
        setting_effects.main_effects,
        setting_effects.interaction_strength,
        setting_effects.setting_importance,
    ],
)
def test_tables_do_not_change_their_input(function):
    runs = four()
    before = runs.copy()
    function(runs, ("layer", "units"), LOSS)
    pd.testing.assert_frame_equal(runs, before)
