import itertools
import json
import logging
import math

import numpy as np
import optuna
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.anova import anova_lm

from gridcast.config import Configuration
from gridcast.evaluation import metrics
from gridcast.evaluation.significance import diebold_mariano
from gridcast.reporting import forecast_tables, leaderboard, setting_effects, tables

LOSS = "best_val_loss"
RETAIL = {
    "layer": ["GRU", "LSTM"],
    "attention": [False, True],
    "units": [32, 64, 128],
    "dropout": [0.1, 0.2, 0.3],
    "learning_rate": [0.001, 0.0005, 0.0001],
    "batch_size": [32, 64],
}


def run(loss: float, seed: int = 0, seconds: float = 1.0, parameters: int = 100, **settings) -> dict:
    configuration = Configuration(**{"lookback": 7, **settings}).model_dump()
    text = json.dumps(configuration, sort_keys=True)
    name = " ".join(map(str, settings.values())) + (f" seed{seed}" if seed else "")
    return {
        "run_id": f"id {name}",
        "key": f"key {name} {seed}",
        "name": name,
        "seed": seed,
        "configuration": text,
        **configuration,
        "best_val_loss": loss,
        "best_val_mae": 10 * loss,
        "best_epoch": 3.0,
        "epochs_trained": 5.0,
        "fit_seconds": seconds,
        "parameters": parameters,
    }


def frame(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(run(0.0)))


def four() -> pd.DataFrame:
    """Two layers times two units: means 1.5 and 5.5 of the layers, 2 and 5 of the units, 3.5 of all."""
    return frame(
        run(8.0, layer="LSTM", units=64),
        run(1.0, layer="GRU", units=32),
        run(2.0, layer="GRU", units=64),
        run(3.0, layer="LSTM", units=32),
    )


def grid(effect, seeds=(0,), noise: float = 0.0, **axes) -> pd.DataFrame:
    """Every combination of `axes` with each seed, the loss `effect(settings)` plus noise."""
    random = np.random.default_rng(0)
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    return frame(*(run(effect(point) + noise * random.normal(), seed, **point) for point in points for seed in seeds))


def retail(seeds=(0,), noise: float = 0.02) -> pd.DataFrame:
    def effect(point):
        return (
            2.0
            + 0.5 * (point["layer"] == "GRU")
            + 0.3 * (point["units"] == 32)
            + 0.2 * math.log10(0.001 / point["learning_rate"])
            + 0.1 * (point["batch_size"] == 64)
        )

    return grid(effect, seeds, noise, **RETAIL)


EMPTY = [frame(), frame(run(math.nan, units=32), run(math.inf, units=64))]


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
    assert setting_effects.interaction_table(runs, "units", "layer", LOSS).index.tolist() == [128]
    assert setting_effects.strongest_contrast(runs, "units", LOSS) is None


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
    assert setting_effects.strongest_contrast(runs, "units", LOSS) is None
    assert setting_effects.interaction_table(runs, *axes, LOSS).empty
    assert math.isnan(setting_effects.interaction_strength(runs, axes, LOSS)[axes])
    importance = setting_effects.setting_importance(runs, axes, LOSS)
    assert sorted(importance["axis"]) == ["layer", "units"]
    assert importance[["fanova", "variance_share"]].isna().all(axis=None)
    assert not leaderboard.pareto_front(runs, "parameters", LOSS).any()


def test_by_configuration_by_hand():
    # Unit 32: 1, 2, 3, mean 2, sd 1, t(2) = 4.302653 / sqrt(3) = 2.484138.
    runs = frame(
        *(run(loss, seed, seconds=loss, units=32) for seed, loss in enumerate([1.0, 2.0, 3.0])),
        *(run(1.5, seed, parameters=50, units=64) for seed in range(3)),
    )
    found = leaderboard.by_configuration(runs, ("units",), LOSS)
    columns = ["configuration", "name", "units", "mean", "low", "high", "count", "parameters", "seconds"]
    assert found.columns.tolist() == columns
    assert found["name"].tolist() == ["64", "32"]
    assert found.loc[0, ["mean", "low", "high", "count", "parameters"]].tolist() == [1.5, 1.5, 1.5, 3, 50]
    assert found.loc[1, ["mean", "count", "seconds"]].tolist() == [2, 3, 2]
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


def test_contrast_by_hand():
    # 32 against 64 units: GRU 10 - 9 = 1, LSTM 8 - 7.4 = 0.6; mean 0.8, sd 0.4 / sqrt(2), error 0.2;
    # t(1, 97.5 %) = 12.706205, half width 2.541241; the worst has mean 9: 8.8889 % and 28.2360 %;
    # t = 0.8 / 0.2 = 4 with 1 degree: p = 1 - 2 atan(4) / pi
    runs = frame(
        run(10.0, layer="GRU", units=32),
        run(9.0, layer="GRU", units=64),
        run(8.0, layer="LSTM", units=32),
        run(7.4, layer="LSTM", units=64),
    )
    found = setting_effects.strongest_contrast(runs, "units", LOSS)
    assert (found.axis, found.best, found.worst, found.pairs) == ("units", "64", "32", 2)
    assert found.percent == pytest.approx(100 * 0.8 / 9)
    assert found.half_width == pytest.approx(28.2360, abs=1e-4)
    assert found.p_value == pytest.approx(1 - 2 * math.atan(4) / math.pi)
    assert found.matters is False


def test_contrast_agrees_with_scipy_on_a_whole_grid():
    runs = retail()
    found = setting_effects.strongest_contrast(runs, "units", LOSS)
    order = ["layer", "attention", "dropout", "learning_rate", "batch_size"]
    worst, best = (runs[runs["units"] == units].sort_values(order)[LOSS].to_numpy() for units in (32, int(found.best)))
    expected = stats.ttest_rel(worst, best)
    low, high = expected.confidence_interval()
    assert (found.worst, found.pairs, found.matters) == ("32", 72, True)
    assert found.percent == pytest.approx(100 * (worst - best).mean() / worst.mean())
    assert found.half_width == pytest.approx(100 * (high - low) / 2 / worst.mean())
    assert found.p_value == pytest.approx(expected.pvalue)
    # 0.3 of a mean of 2.25 (layer) + 0.3 + 0.1 (rate: 0.2 * (0 + 0.30103 + 1) / 3 = 0.0867) + 0.05 (batch)
    assert found.percent == pytest.approx(100 * 0.3 / (2.25 + 0.3 + 0.0867 + 0.05), abs=0.5)


def test_contrast_of_an_axis_without_effect_does_not_matter():
    found = setting_effects.strongest_contrast(retail(), "dropout", LOSS)
    assert found.matters is False
    assert found.p_value > 0.05
    assert found.percent < found.half_width


@pytest.mark.parametrize("axis", list(RETAIL))
def test_contrast_matters_when_p_is_below_five_percent(axis):
    for noise in (0.01, 0.5, 3.0):
        found = setting_effects.strongest_contrast(retail(noise=noise), axis, LOSS)
        assert found.matters == (found.p_value < 0.05)
        assert found.percent >= 0


def test_contrast_matches_the_seed_too():
    runs = frame(run(2.0, 0, units=32), run(5.0, 1, units=32), run(1.0, 0, units=64), run(4.0, 1, units=64))
    # Each seed differs by exactly 1 of a mean of 3.5, though the seeds differ by 3.
    found = setting_effects.strongest_contrast(runs, "units", LOSS)
    assert (found.best, found.pairs, found.half_width, found.p_value, found.matters) == ("64", 2, 0.0, 0.0, True)
    assert found.percent == pytest.approx(100 / 3.5)


def test_contrast_leaves_out_runs_without_a_match():
    # 64 was run with the bad layer only: its mean is the worse one, yet alike it is better.
    runs = frame(
        run(1.0, layer="GRU", units=32),
        run(9.0, layer="LSTM", units=32),
        run(8.0, layer="LSTM", units=64),
        run(0.0, layer="GRU", units=64, dropout=0.5),
    )
    found = setting_effects.strongest_contrast(runs, "units", LOSS)
    assert (found.best, found.worst, found.pairs) == ("64", "32", 1)
    assert found.percent == pytest.approx(100 / 9)
    assert math.isnan(found.half_width)
    assert math.isnan(found.p_value)
    assert found.matters is False


def test_contrast_ranks_values_by_what_they_are_matched_with():
    # 64 units were never run with the bad layer, so their mean of 3 is the best; alike they are the worst.
    runs = frame(
        *(run(loss, layer="GRU", units=units) for units, loss in ((16, 1.0), (32, 2.0), (64, 3.0))),
        *(run(loss, layer="LSTM", units=units) for units, loss in ((16, 101.0), (32, 102.0))),
    )
    found = setting_effects.strongest_contrast(runs, "units", LOSS)
    assert (found.best, found.worst, found.pairs) == ("16", "64", 1)
    assert found.percent == pytest.approx(200 / 3)


def test_contrast_never_calls_the_worse_of_its_pairs_the_best():
    # Distances: 16 units -0.5 and 3, 32 units 0.5 and -3, 64 units -3 and 3. So 16 and 32 are the furthest apart,
    # with 32 ahead, but in the one pair that they share 16 is.
    runs = frame(
        *(run(loss, dropout=0.1, units=units) for units, loss in ((16, 1.0), (32, 2.0))),
        *(run(loss, dropout=0.2, units=units) for units, loss in ((16, 6.0), (64, 0.0))),
        *(run(loss, dropout=0.3, units=units) for units, loss in ((32, 0.0), (64, 6.0))),
    )
    found = setting_effects.strongest_contrast(runs, "units", LOSS)
    assert (found.best, found.worst, found.percent, found.pairs) == ("16", "32", 50.0, 1)


def test_contrast_of_values_that_never_met():
    # 16 and 64 units share no pair: of the pairs there are, 16 against 32 is the wider one.
    runs = frame(
        run(1.0, layer="GRU", units=16),
        run(4.0, layer="GRU", units=32),
        run(4.0, layer="LSTM", units=32),
        run(5.0, layer="LSTM", units=64),
    )
    found = setting_effects.strongest_contrast(runs, "units", LOSS)
    assert (found.best, found.worst, found.percent) == ("16", "32", 75.0)


def test_contrast_of_a_boolean_axis():
    runs = frame(*(run(1.0 + a + k, attention=bool(a), units=2**k) for a in (0, 1) for k in (1, 2, 3)))
    found = setting_effects.strongest_contrast(runs, "attention", LOSS)
    assert (found.best, found.worst, found.pairs, found.matters) == ("false", "true", 3, True)
    assert found.percent == pytest.approx(25)  # 1 of a mean of (3 + 4 + 5) / 3 = 4


def test_contrast_without_any_difference():
    found = setting_effects.strongest_contrast(four().assign(best_val_loss=0.1), "units", LOSS)
    assert (found.percent, found.half_width, found.p_value, found.matters) == (0.0, 0.0, 1.0, False)
    assert found.best != found.worst
    assert setting_effects.strongest_contrast(four().assign(best_val_loss=0.0), "units", LOSS).percent == 0.0


@pytest.mark.parametrize(
    "runs",
    [
        frame(run(1.0, units=32)),
        frame(run(1.0, units=32), run(2.0, seed=1, units=32)),
        frame(run(1.0, units=32, layer="GRU"), run(2.0, units=64, layer="LSTM")),
        frame(run(1.0, seed=0, units=32), run(2.0, seed=1, units=64)),
    ],
    ids=["one run", "one value", "nothing alike", "other seed"],
)
def test_contrast_without_pairs_is_none(runs):
    assert setting_effects.strongest_contrast(runs, "units", LOSS) is None


def test_interaction_by_hand():
    found = setting_effects.interaction_table(four(), "layer", "units", LOSS)
    assert found.to_dict("index") == {"GRU": {32: 1.0, 64: 2.0}, "LSTM": {32: 3.0, 64: 8.0}}
    assert (found.index.name, found.columns.name) == ("layer", "units")


def test_interaction_keeps_cells_that_nobody_ran():
    found = setting_effects.interaction_table(four().iloc[:3], "units", "layer", LOSS)
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


def forecasts(errors: list[list[float]], scale: float = 1.0, series: str = "a") -> pd.DataFrame:
    """Forecasts of 10 by so much off, one row of `errors` per origin, a day apart."""
    days = pd.date_range("2024-01-01", periods=len(errors) + len(errors[0]))
    rows = [
        (series, days[origin + step], step + 1, 10.0, 10.0 + error, scale)
        for origin, own in enumerate(errors)
        for step, error in enumerate(own)
    ]
    return pd.DataFrame(rows, columns=["series", "time", "step", "actual", "forecast", "scale"])


def single(errors, scale: float = 1.0, series: str = "a") -> pd.DataFrame:
    return forecasts([[error] for error in errors], scale, series)


def test_test_table_by_hand():
    # Series a: errors 0.3, 0.8, -1.5, 4 of 10 (3, 8, 15 and 40 %), scale 2; b: no error, scale 1.
    tests = {
        "winner": pd.concat([single([0.3, 0.8, -1.5, 4.0], 2.0), single([0.0] * 4, 1.0, "b")]),
        "other": single([1.0, -1.0]),
    }
    found = forecast_tables.measure_table(tests)
    shares = ["share_excellent", "share_good", "share_acceptable", "share_needs_improvement"]
    assert found.columns.tolist() == ["name", "mae", "rmse", "r2", "mape", "smape", "wape", "mase", *shares]
    assert found["name"].tolist() == ["winner", "other"]
    assert found.loc[0, "mae"] == pytest.approx(6.6 / 8)
    assert found.loc[0, "rmse"] == pytest.approx(math.sqrt((0.09 + 0.64 + 2.25 + 16) / 8))
    assert found.loc[0, "mape"] == pytest.approx(66 / 8)
    assert found.loc[0, "mase"] == pytest.approx((6.6 / 4 / 2 + 0) / 2)
    assert found.loc[0, shares].tolist() == [62.5, 12.5, 12.5, 12.5]
    assert found.loc[1, ["mae", "mase", "share_good"]].tolist() == [1.0, 1.0, 100.0]
    assert found["r2"].isna().all()  # the actual value never changes


def test_test_table_shares_sum_up_to_all():
    random = np.random.default_rng(0)
    found = forecast_tables.measure_table({"noise": single(random.normal(0, 2, 300))})
    assert found.filter(like="share_").sum(axis=1).tolist() == pytest.approx([100])


def test_by_series_by_hand():
    both = pd.concat([single([1.0, 3.0], 2.0, "a"), single([-1.0, 0.0], 1.0, "b")])
    found = forecast_tables.measures_by_series({"winner": both, "other": single([2.0], series="b")})
    assert found.columns.tolist() == ["name", "series", "mae", "rmse", "r2", "mape", "smape", "wape", "mase"]
    assert found[["name", "series", "mae", "mase"]].to_numpy().tolist() == [
        ["winner", "a", 2.0, 1.0],
        ["winner", "b", 0.5, 0.5],
        ["other", "b", 2.0, 2.0],
    ]
    assert forecast_tables.measures_by_series({}).columns.tolist() == found.columns.tolist()


def test_origin_losses_by_hand():
    # Origin 1: a 1 / 2 and 3 / 2, b 4 and 0: mean (0.5 + 1.5 + 4 + 0) / 4 = 1.5;
    # origin 2: a 2 / 2 and 0, b 1 and 2: mean (1 + 0 + 1 + 2) / 4 = 1
    table = pd.concat([forecasts([[1, -3], [2, 0]], 2.0, "a"), forecasts([[4, 0], [-1, 2]], 1.0, "b")])
    found = forecast_tables.origin_losses(table)
    assert found.tolist() == [1.5, 1.0]
    assert found.index.tolist() == list(pd.date_range("2024-01-01", periods=2))
    shuffled = table.sample(frac=1, random_state=0)
    pd.testing.assert_series_equal(forecast_tables.origin_losses(shuffled), found)


def test_origin_losses_of_windows_with_a_stride_between_them():
    table = forecasts([[1.0, 2.0]] * 9)
    table = table[table["time"].sub(pd.to_timedelta(table["step"] - 1, unit="D")).dt.day.isin([1, 4, 9])]
    found = forecast_tables.origin_losses(table)
    assert found.index.day.tolist() == [1, 4, 9]
    assert found.tolist() == [1.5, 1.5, 1.5]


def test_origin_losses_average_to_mase():
    random = np.random.default_rng(7)
    table = pd.concat([single(random.normal(size=30), scale, name) for scale, name in ((1.0, "a"), (3.0, "b"))])
    arrays = (table[column].to_numpy() for column in ("actual", "forecast", "series", "scale"))
    assert forecast_tables.origin_losses(table).mean() == pytest.approx(metrics.overall(*arrays)["mase"])


def test_origin_losses_leave_out_series_without_a_scale():
    table = pd.concat([single([1.0, 2.0]), single([5.0, 5.0], 0.0, "flat")])
    assert forecast_tables.origin_losses(table).tolist() == [1.0, 2.0]
    assert forecast_tables.origin_losses(single([1.0], 0.0)).empty


def rivals() -> dict[str, pd.DataFrame]:
    random = np.random.default_rng(11)
    own = random.uniform(0.5, 1.5, 40)
    return {
        "good": single(own),
        "bad": single(own + random.uniform(0.2, 1.0, 40)),
        "alike": single(own + random.normal(0, 0.2, 40)),
        "better": single(own * 0.5),
    }


def test_against_baselines():
    tests = rivals()
    found = forecast_tables.against_baselines(tests, "good", 1)
    assert found.columns.tolist() == ["name", "mase", "percent", "dm_statistic", "p_value", "verdict"]
    assert found[["name", "verdict"]].to_numpy().tolist() == [["bad", "better"], ["alike", "tied"], ["better", "worse"]]
    mase = forecast_tables.measure_table(tests).set_index("name")["mase"]
    by_name = found.set_index("name")
    assert by_name["mase"].to_dict() == mase.drop("good").to_dict()
    assert by_name.loc["better", "percent"] == pytest.approx(100)
    assert by_name.loc["bad", "percent"] == pytest.approx(100 * (mase["good"] - mase["bad"]) / mase["bad"])
    assert by_name.loc["bad", "percent"] < 0
    expected = diebold_mariano((tests["good"]["forecast"] - 10).abs(), (tests["alike"]["forecast"] - 10).abs())
    assert by_name.loc["alike", "dm_statistic"] == pytest.approx(expected.statistic)
    assert by_name.loc["alike", "p_value"] == pytest.approx(expected.p_value)


def test_against_baselines_minds_the_horizon():
    one, three = (forecast_tables.against_baselines(rivals(), "good", horizon)["dm_statistic"] for horizon in (1, 3))
    assert not np.isclose(one, three).any()


def test_against_baselines_compares_origins_that_both_have():
    tests = rivals()
    tests["bad"] = tests["bad"].iloc[10:]
    found = forecast_tables.against_baselines(tests, "good", 1).set_index("name")
    own, other = ((tests[name]["forecast"] - 10).abs() for name in ("good", "bad"))
    assert found.loc["bad", "dm_statistic"] == pytest.approx(diebold_mariano(own.iloc[10:], other).statistic)


def test_against_baselines_of_the_same_forecasts_is_tied():
    found = forecast_tables.against_baselines({"a": single([1.0, 2.0, 3.0]), "b": single([1.0, 2.0, 3.0])}, "a", 1)
    assert found.to_numpy().tolist() == [["b", 2.0, 0.0, 0.0, 1.0, "tied"]]


def test_against_baselines_with_one_origin_cannot_tell():
    found = forecast_tables.against_baselines({"a": single([1.0]), "b": single([2.0])}, "a", 1)
    assert found.loc[0, ["percent", "verdict"]].tolist() == [-50.0, "tied"]
    assert found.loc[0, ["dm_statistic", "p_value"]].isna().all()


def test_against_baselines_with_a_perfect_and_with_a_broken_one():
    tests = {"a": single([1.0, 2.0, 1.0, 2.0]), "perfect": single([0.0] * 4), "broken": single([math.inf] * 4)}
    found = forecast_tables.against_baselines(tests, "a", 1).set_index("name")
    assert math.isnan(found.loc["perfect", "percent"])
    assert found.loc["perfect", "verdict"] == "worse"
    assert math.isnan(found.loc["broken", "mase"])
    assert math.isnan(found.loc["broken", "p_value"])
    assert found.loc["broken", "verdict"] == "tied"
    assert forecast_tables.measures_by_series({"broken": tests["broken"]}).loc[0, "mae"] == math.inf


def test_against_baselines_without_any_and_without_the_winner():
    found = forecast_tables.against_baselines({"a": single([1.0])}, "a", 1)
    assert found.empty
    assert "verdict" in found
    with pytest.raises(KeyError, match="b"):
        forecast_tables.against_baselines({"a": single([1.0])}, "b", 1)


@pytest.mark.parametrize(
    "function", ["leaderboard", "by_configuration", "main_effects", "interaction_strength", "importance"]
)
def test_tables_do_not_change_their_input(function):
    runs = four()
    before = runs.copy()
    getattr(tables, function)(runs, ("layer", "units"), LOSS)
    pd.testing.assert_frame_equal(runs, before)
