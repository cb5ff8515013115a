"""Differences between settings: seeds are the replicates, and what is no effect is not called one."""

import math

import numpy as np
import pandas as pd
import pytest
from made_up_runs import EMPTY, LOSS, RETAIL, frame, grid, retail, run
from scipy import stats

from gridcast.reporting.setting_contrasts import seed_spread, setting_contrasts
from gridcast.reporting.setting_sentences import setting_sentences


def contrasts(runs: pd.DataFrame, *axes: str, relevant: float = 0.01) -> pd.DataFrame:
    return setting_contrasts(runs, axes, LOSS, relevant)


def sentences(runs: pd.DataFrame, *axes: str) -> list[str]:
    found = contrasts(runs, *axes)
    return setting_sentences(found, axes, LOSS, relevant=0.01, spread=seed_spread(runs, LOSS))


def three_seeds(gaps: tuple[float, ...] = (1.0, 2.0, 3.0), level: float = 100.0) -> pd.DataFrame:
    """64 units are below 32 by `gaps`, in two layers alike."""
    return frame(
        *(
            run(level + 10 * seed, seed, units=32, layer=layer)
            for seed in range(len(gaps))
            for layer in ("GRU", "LSTM")
        ),
        *(
            run(level + 10 * seed - gap + spread, seed, units=64, layer=layer)
            for seed, gap in enumerate(gaps)
            for layer, spread in (("GRU", 0.5), ("LSTM", -0.5))
        ),
    )


def test_a_contrast_by_hand():
    # Differences by seed 1, 2, 3, each the mean of two pairs: mean 2, error 1 / sqrt(3) with 2 degrees;
    # t(2, 97.5 %) = 4.302653, half width 2.484138. The higher one has a mean of 110.
    row = contrasts(three_seeds(), "units").iloc[0]
    assert row[["axis", "lower", "higher", "seeds", "pairs"]].tolist() == ["units", "64", "32", 3, 6]
    assert row["difference"] == pytest.approx(2)
    assert row["half_width"] == pytest.approx(2.484138, abs=1e-6)
    assert row["percent"] == pytest.approx(200 / 110)
    assert row["percent_half_width"] == pytest.approx(248.4138 / 110, abs=1e-4)
    assert row["p_value"] == pytest.approx(2 * stats.t.sf(2 * math.sqrt(3), 2))
    assert row["finding"] == "unclear"


def test_pairs_of_one_seed_prove_nothing_however_many():
    # 72 pairs that agree to a tenth of a percent: former versions said "64 units beat 32 by 10.0 % ± 0.1".
    found = contrasts(retail(), *RETAIL)
    assert set(found["finding"]) == {"untested"}
    assert found[["p_value", "half_width"]].isna().all(axis=None)
    said = " ".join(sentences(retail(), *RETAIL))
    assert " beat " not in said
    assert "±" not in said
    assert "% below GRU" in said
    assert "One seed cannot tell whether that is luck: how far seeds alone move a run is unknown." in said


def test_two_seeds_prove_nothing_either_but_show_how_far_seeds_move_a_run():
    runs = frame(*(run(loss, seed, units=units) for units, seed, loss in [(32, 0, 99), (32, 1, 101), (64, 0, 98)]))
    said = sentences(runs, "units")
    # The standard deviation of 99 and 101 is sqrt(2), of a mean of 100.
    assert said == [
        "In these runs, by mean validation loss: 64 units 1.0 % below 32 units. One seed cannot tell whether that is "
        "luck: seeds alone move a run by about 1.4 % (1 configuration)."
    ]


def test_an_effect_is_named_with_its_corrected_interval_and_family():
    runs = grid(lambda p: 100 - 5 * (p["units"] == 64), seeds=range(5), noise=0.5, units=[32, 64], dropout=[0.1, 0.2])
    said = sentences(runs, "units", "dropout")
    assert said[0].startswith("64 units beat 32 units by 5.")
    assert said[0].endswith("in validation loss (over 5 seeds, 10 matched pairs).")
    assert any("corrected for all 2 pairs of values (Holm), seeds are the replicates" in text for text in said)


def test_intervals_have_the_confidence_of_their_step_in_holms_method():
    runs = grid(lambda p: 100 - 5 * (p["units"] == 64), seeds=range(5), noise=0.5, units=[32, 64], dropout=[0.1, 0.2])
    found = contrasts(runs, "units", "dropout").set_index("axis")
    alone = {axis: contrasts(runs, axis).iloc[0] for axis in ("units", "dropout")}
    wider = stats.t.ppf(1 - 0.0125, 4) / stats.t.ppf(1 - 0.025, 4)
    assert found.loc["units", "half_width"] == pytest.approx(wider * alone["units"]["half_width"])
    assert found.loc["dropout", "half_width"] == pytest.approx(alone["dropout"]["half_width"])
    assert found.loc["units", "p_value"] == pytest.approx(2 * alone["units"]["p_value"])


def test_a_clear_difference_below_the_relevant_share_is_no_effect():
    runs = grid(lambda p: 100 - 0.3 * (p["units"] == 64), seeds=range(5), noise=0.01, units=[32, 64])
    assert contrasts(runs, "units")["finding"].tolist() == ["no effect"]
    assert sentences(runs, "units")[0] == "Units made no difference of 1 % or more."
    assert contrasts(runs, "units", relevant=0.002)["finding"].tolist() == ["effect"]


def test_a_difference_that_is_not_shown_is_not_called_none():
    runs = grid(lambda p: 100.0, seeds=range(3), noise=2.0, units=[32, 64])
    assert contrasts(runs, "units")["finding"].tolist() == ["unclear"]
    assert sentences(runs, "units")[0] == "No effect of units is shown, nor that there is none."


def test_every_pair_of_values_is_compared():
    found = contrasts(retail(seeds=range(3)), "units", "layer")
    assert found["axis"].tolist() == ["units"] * 3 + ["layer"]
    assert {frozenset(row) for row in found[["lower", "higher"]].to_numpy()[:3].tolist()} == {
        frozenset(("32", "64")),
        frozenset(("32", "128")),
        frozenset(("64", "128")),
    }


def test_folds_are_no_seeds():
    runs = grid(lambda p: 100 - 5 * (p["units"] == 64), units=[32, 64], noise=0.1)
    folds = pd.concat([runs.assign(fold=fold, best_val_loss=runs[LOSS] + fold) for fold in range(5)])
    assert contrasts(folds, "units")["finding"].tolist() == ["untested"]


def test_folds_that_disagree_widen_the_interval():
    # Each seed sees the same: 64 units are better on one fold and worse on the others.
    gaps = {0: 9.0, 1: -1.0, 2: -2.0}
    runs = frame(
        *(
            {**run(100.0 - gaps[fold] * (units == 64) + 0.01 * seed * (units == 64), seed, units=units), "fold": fold}
            for fold in gaps
            for seed in range(5)
            for units in (32, 64)
        )
    )
    runs = runs.assign(fold=np.repeat(list(gaps), 10))
    assert contrasts(runs, "units")["finding"].tolist() == ["unclear"]
    assert contrasts(runs[runs["fold"] < 1], "units")["finding"].tolist() == ["effect"]


def test_a_loss_below_zero_is_compared_in_its_own_unit():
    # A negative log-likelihood: 0.05 less is a likelihood that is 5 % higher, whatever the level.
    runs = grid(lambda p: -0.2 - 0.05 * (p["units"] == 64), seeds=range(5), noise=0.002, units=[32, 64])
    row = contrasts(runs, "units").iloc[0]
    assert math.isnan(row["percent"])
    assert row["difference"] == pytest.approx(0.05, abs=0.005)
    assert row["finding"] == "effect"
    assert sentences(runs, "units")[0].startswith("64 units beat 32 units by 0.0498 ± 0.0023 in")


def test_runs_without_a_match_do_not_count():
    # 64 was run with the bad layer only: its mean is the worse one, yet alike it is better.
    runs = frame(
        run(1.0, layer="GRU", units=32),
        run(9.0, layer="LSTM", units=32),
        run(8.0, layer="LSTM", units=64),
        run(0.0, layer="GRU", units=64, dropout=0.5),
    )
    row = contrasts(runs, "units").iloc[0]
    assert row[["lower", "higher", "pairs"]].tolist() == ["64", "32", 1]
    assert row["percent"] == pytest.approx(100 / 9)


def test_a_boolean_axis_is_compared_as_text():
    runs = frame(*(run(1.0 + a + k, attention=bool(a), units=2**k) for a in (0, 1) for k in (1, 2, 3)))
    row = contrasts(runs, "attention").iloc[0]
    assert row[["lower", "higher", "pairs"]].tolist() == ["false", "true", 3]
    assert "no attention 25.0 % below attention" in sentences(runs, "attention")[0]


@pytest.mark.parametrize(
    "runs",
    [
        *EMPTY,
        frame(run(1.0, units=32)),
        frame(run(1.0, units=32, layer="GRU"), run(2.0, units=64, layer="LSTM")),
        frame(run(1.0, seed=0, units=32), run(2.0, seed=1, units=64)),
    ],
    ids=["no run", "no finite run", "one run", "nothing alike", "other seed"],
)
def test_without_pairs_nothing_is_said(runs):
    assert len(contrasts(runs, "units")) == 0
    assert sentences(runs, "units") == ["Nothing can be said yet about units: no two runs differ in it alone."]


def test_without_axes_there_is_nothing_to_say():
    assert sentences(frame(run(1.0))) == ["The grid varies no setting, so there is nothing to say about settings."]


def test_the_spread_of_seeds_is_pooled_over_configurations():
    # Unit 32: sd sqrt(2) of mean 2, one degree of freedom; unit 64: sd 1 of mean 5, two; unit 16 has one seed.
    losses = {32: [1.0, 3.0], 64: [4.0, 5.0, 6.0], 16: [9.0]}
    runs = frame(*(run(loss, seed, units=units) for units, of in losses.items() for seed, loss in enumerate(of)))
    share, configurations = seed_spread(runs, LOSS)
    assert share == pytest.approx(math.sqrt((2 / 4 + 2 / 25) / 3))
    assert configurations == 2
    assert seed_spread(runs[runs["seed"] == 0], LOSS)[1] == 0


def by_gaps(*gaps: float, level: float = 100.0, **axes: list) -> pd.DataFrame:
    """64 units are below 32 by the gap of each seed, whatever else differs."""
    return frame(
        *(
            run(level - gap * (units == 64), seed, units=units, dropout=dropout)
            for seed, gap in enumerate(gaps)
            for units in (32, 64)
            for dropout in axes.get("dropout", [0.1])
        )
    )


def test_an_effect_of_exactly_the_relevant_share_is_one():
    assert contrasts(by_gaps(1.0, 1.0, 1.0), "units")["finding"].tolist() == ["effect"]
    assert contrasts(by_gaps(0.99, 0.99, 0.99), "units")["finding"].tolist() == ["no effect"]


def test_that_there_is_no_effect_is_shown_for_all_axes_together():
    # Differences of 0.4 with an error of 0.169 are below 1 with p = 0.036: enough for one axis, not for one of two.
    runs = by_gaps(0.107, 0.4, 0.693, dropout=[0.1, 0.2])
    assert contrasts(runs, "units")["finding"].tolist() == ["no effect"]
    assert contrasts(runs, "units", "dropout")["finding"].tolist() == ["unclear", "no effect"]


def test_rounding_is_no_difference():
    runs = frame(*(run(loss, seed, units=units) for seed in range(3) for units, loss in ((32, 0.1 + 0.2), (64, 0.3))))
    row = contrasts(runs, "units").iloc[0]
    assert row[["lower", "higher", "difference", "p_value", "finding"]].tolist() == ["32", "64", 0, 1, "no effect"]


@pytest.mark.parametrize(("level", "has_share"), [(0.5, True), (0.05, True), (0.01, False), (0.0, False)])
def test_a_share_needs_means_above_0(level, has_share):
    row = contrasts(by_gaps(0.01, 0.01, 0.01, level=level), "units").iloc[0]
    assert row["difference"] == pytest.approx(0.01)
    assert math.isfinite(row["percent"]) == has_share


def test_the_spread_of_seeds_is_one_within_folds_and_needs_means_above_0():
    # Variances of 2 in each of two folds, of means of 10 and 1000; of a mean below 0 there is no share.
    runs = frame(*(run(loss, seed, units=32) for seed, loss in ((0, 9.0), (1, 11.0), (0, 999.0), (1, 1001.0))))
    runs = runs.assign(fold=[0, 0, 1, 1])
    below = frame(*(run(loss, seed, units=64) for seed, loss in ((0, -3.0), (1, 1.0)))).assign(fold=0)
    nothing = frame(*(run(loss, seed, units=16) for seed, loss in ((0, -1.0), (1, 1.0)))).assign(fold=0)
    share, configurations = seed_spread(pd.concat([runs, below, nothing]), LOSS)
    assert share == pytest.approx(math.sqrt((2 / 100 + 2 / 1000**2) / 2))
    assert configurations == 1
    assert seed_spread(nothing, LOSS)[1] == 0
    small = runs.assign(best_val_loss=runs[LOSS] / 10_000)
    assert seed_spread(small, LOSS) == (pytest.approx(share), 1)


def test_two_folds_are_matched_with_themselves():
    # Each fold has another level, and one of them a run that has no match.
    runs = by_gaps(2.0, 2.0, 2.0)
    both = pd.concat([runs.assign(fold=0), runs.assign(fold=1, best_val_loss=runs[LOSS] + 100).iloc[:-1]])
    row = contrasts(both, "units").iloc[0]
    assert (row["difference"], row["pairs"], row["seeds"]) == (2.0, 5, 3)
