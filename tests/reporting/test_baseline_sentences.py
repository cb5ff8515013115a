"""Sentences on the winner against the baselines, word by word, from made-up comparisons."""

import math

import numpy as np
import pandas as pd
import pytest

from gridcast.evaluation.origin_losses import MAE, MASE, WQL, Measure
from gridcast.reporting import baseline_sentences
from gridcast.reporting.baseline_comparison import SeriesSummary
from gridcast.reporting.baseline_sentences import BaselineStanding

NAIVE = ("last value", "seasonal naive", "training mean")


def against(**verdicts: str) -> pd.DataFrame:
    """A comparison with each baseline, the next one of which is 10 % worse: its verdict, or a reason for no test."""
    rows = []
    for number, (name, verdict) in enumerate(verdicts.items()):
        is_tested = verdict in ("better", "worse", "tied", "unclear")
        percent = 10.0 * (number + 1) * (-1 if verdict != "worse" else 1)
        row = {"name": name.replace("_", " "), "error": 1.0 + number, "percent": percent, "origins": 30 + number}
        row |= {"verdict": verdict if is_tested else "untested", "reason": "" if is_tested else verdict}
        rows.append(row | {"p_value": 0.01 * (number + 1) if is_tested else math.nan})
    return pd.DataFrame(rows)


def standing(measure: Measure = MASE, **verdicts: str) -> BaselineStanding:
    frame = against(**verdicts)
    values = {name: {"mase": 0.5, "mae": 5.0, "wql": 0.1} for name in ("net", *frame.get("name", ()))}
    return BaselineStanding(frame, measure, "net", values, None, {}, 0.01)


def changed(one: BaselineStanding, **changes) -> BaselineStanding:
    return BaselineStanding(**{**vars(one), **changes})


def line(measure: Measure = MASE, failed: tuple[str, ...] = (), **verdicts: str) -> str:
    return baseline_sentences.bottom_line(changed(standing(measure, **verdicts), failed=failed), NAIVE)


def test_every_verdict_has_its_phrase_and_the_largest_differences_come_first():
    one = standing(a="better", b="better", c="unclear", d="tied", e="worse", f="worse", g="one origin", h="broken")
    assert baseline_sentences.baseline_sentences(one) == [
        "On unseen data, by MASE (0.5), the winner is 20 % below b (p 0.02) and 10 % below a (p 0.01); cannot be told "
        "apart from c (-30.0 %, p 0.03); is tied with d (-40.0 %) within 1 %; is 60 % above f (p 0.06) and 50 % above "
        "e (p 0.05); is 80 % below h, not tested: broken; is 70 % below g, not tested: one origin. p values: "
        "Diebold-Mariano over 37 origins, corrected for 6 comparisons."
    ]


def test_a_note_on_p_values_needs_some():
    assert baseline_sentences.baseline_sentences(standing(a="better"))[0].endswith(
        "(p 0.01). p values: Diebold-Mariano over 30 origins."
    )
    assert baseline_sentences.baseline_sentences(standing(a="better", b="better"))[0].endswith(
        "over 31 origins, corrected for 2 comparisons."
    )
    assert baseline_sentences.baseline_sentences(standing(a="one origin")) == [
        "On unseen data, by MASE (0.5), the winner is 10 % below a, not tested: one origin."
    ]


def test_without_a_baseline_to_compare_there_is_the_error_alone():
    assert baseline_sentences.baseline_sentences(standing(WQL)) == [
        "On unseen data the winner's quantile loss (WQL) is 0.1; no baseline gives the same to compare."
    ]
    unused = changed(standing(a="better"), values={})
    assert baseline_sentences.baseline_sentences(unused) == [baseline_sentences.NOT_TESTED_YET]


def test_the_best_naive_baseline_is_that_with_the_lowest_error():
    frame = against(ridge="better", seasonal_naive="better", last_value="better")
    assert baseline_sentences.best_naive(frame, NAIVE) == "seasonal naive"
    assert baseline_sentences.best_naive(frame.assign(error=[0, math.nan, 9]), NAIVE) == "last value"
    assert baseline_sentences.best_naive(frame[:1], NAIVE) is None


def summary(**changes) -> SeriesSummary:
    values = {"series": 20, "winner_median": 0.25, "reference": "last value", "won": 15, "deciding": ()}
    return SeriesSummary(**{**values, "share": math.nan, "percent_without": math.nan, **changes})


def on_series(measure: Measure = MASE, **changes) -> list[str]:
    one = changed(standing(measure, last_value="better"), summary=summary(**changes))
    return baseline_sentences.baseline_sentences(one)[1:]


def test_a_mean_over_series_is_given_with_their_median():
    text = "The MASE is a mean over 20 series; the winner's median is 0.25"
    assert on_series() == [f"{text}, and it is ahead of last value in 15 of them."]
    assert on_series(reference=None) == [f"{text}."]
    assert on_series(series=1) == []
    assert on_series(series=2)[0].startswith("The MASE is a mean over 2 series")


def test_the_mase_stands_beside_another_measure():
    assert on_series(MAE) == [
        "Its MASE is 0.500 (last value: 0.500).",
        "The MAE is over 20 series, and the winner is ahead of last value in 15 of them.",
    ]
    assert on_series(MAE, reference=None) == ["Its MASE is 0.500.", "The MAE is over 20 series."]
    alone = changed(standing(MAE, last_value="better"), summary=None)
    assert baseline_sentences.baseline_sentences(alone)[1:] == ["Its MASE is 0.500."]


def test_series_that_decide_a_mean_are_named():
    one = {"deciding": ("s9",), "share": 0.6, "percent_without": -12.0}
    two = {"deciding": ("s9", "s3"), "share": 0.6, "percent_without": 12.0}
    assert on_series(**one)[1] == (
        "s9 alone makes up 60 % of the winner's MASE: without it the winner is 12 % below last value."
    )
    assert on_series(**two)[1] == (
        "s9 and s3 alone make up 60 % of the winner's MASE: without them the winner is 12 % above last value."
    )
    assert on_series(**{**one, "percent_without": math.nan})[1] == "s9 alone makes up 60 % of the winner's MASE."
    assert on_series(**one, reference=None)[1] == "s9 alone makes up 60 % of the winner's MASE."


def test_measures_that_disagree_are_named_with_all_baselines_of_which_they_do():
    one = standing(a="better", b="better", c="worse")
    values = {"net": {"mase": 0.5}, "a": {"mase": 0.6}, "b": {"mase": 0.7}, "c": {"mase": 0.4}}
    disagreements = {"a": ["RMSE"], "b": ["RMSE"], "c": ["RMSE", "WAPE"]}
    found = baseline_sentences.baseline_sentences(changed(one, values=values, disagreements=disagreements))
    assert found[1:] == [
        "By RMSE, a and b are ahead of the winner instead (not tested).",
        "By RMSE and WAPE, the winner is ahead of c instead (not tested).",
    ]
    single = changed(one, values=values, disagreements={"a": ["RMSE"]})
    assert baseline_sentences.baseline_sentences(single)[1] == (
        "By RMSE, a is ahead of the winner instead (not tested)."
    )
    level = changed(one, values=values | {"a": {"mase": 0.5}}, disagreements={"a": ["RMSE"]})
    assert baseline_sentences.baseline_sentences(level)[1] == (
        "By RMSE, the winner is ahead of a instead (not tested)."
    )


ALL_BETTER = {"last_value": "better", "seasonal_naive": "better"}


@pytest.mark.parametrize(
    ("verdicts", "sentence"),
    [
        ({"ridge": "better"}, None),
        ({"last_value": "worse"}, "the winner is 10 % above the last value on unseen data: use that instead, it costs "
                                  "nothing."),
        ({"last_value": "unclear"}, "the winner cannot be told apart from the last value on unseen data (-10.0 %, p "
                                    "0.01), which costs nothing."),
        ({"last_value": "tied"}, "the winner is tied with the last value within 1 %: that costs nothing."),
        ({"last_value": "one origin"}, "the winner is 10 % below the last value on unseen data, which is not tested: "
                                       "one origin."),
        ({"seasonal_naive": "tied", "training_mean": "better"}, "the winner is tied with seasonal naive within 1 %: "
                                                                "that costs nothing."),
        ({"training_mean": "worse", "last_value": "better"}, "the winner beats the last value, but is worse than "
                                                             "training mean: use that instead, it costs nothing."),
        ({"last_value": "better", "seasonal_naive": "tied", "training_mean": "worse"},
         "the winner beats the last value, but is not shown to beat seasonal naive and is worse than training mean: "
         "use that instead, it costs nothing."),
        ({"training_mean": "better"}, "the winner beats the training mean."),
        (ALL_BETTER, "the winner beats every naive baseline."),
        (ALL_BETTER | {"ridge": "worse"}, "the winner beats every naive baseline, yet ridge is better."),
        (ALL_BETTER | {"ridge": "worse", "trees": "worse", "ETS": "tied"},
         "the winner beats every naive baseline, yet ridge and trees are better."),
        (ALL_BETTER | {"ridge": "tied", "trees": "one origin", "ETS": "better"},
         "the winner beats every naive baseline; it is not shown to beat ridge and trees."),
        (ALL_BETTER | {"ridge": "better"}, "the winner beats every baseline, naive or not."),
        ({"last_value": "better", "ridge": "worse"}, "the winner beats the last value, yet ridge is better."),
    ],
)  # fmt: skip
def test_the_headline_of_each_kind(verdicts, sentence):
    expected = f"By MASE, {sentence}" if sentence else "Whether the winner beats simple baselines is not known yet."
    assert line(**verdicts) == expected


def test_a_headline_by_quantile_loss_is_about_baselines_with_quantiles():
    by = "By quantile loss (WQL), the winner beats"
    assert line(WQL, **ALL_BETTER, ridge="tied") == (
        f"{by} every naive baseline that gives quantiles; it is not shown to beat ridge."
    )
    assert line(WQL, **ALL_BETTER, ridge="better") == f"{by} every baseline that gives quantiles."
    assert line(WQL, last_value="better", ridge="tied") == f"{by} the last value; it is not shown to beat ridge."


def test_a_headline_leaves_out_baselines_that_failed():
    failed = ("ETS", "training mean")
    assert line(failed=failed, **ALL_BETTER) == (
        "By MASE, the winner beats every naive baseline, except the training mean, which failed."
    )
    assert line(failed=failed, **ALL_BETTER, ridge="better") == (
        "By MASE, the winner beats every baseline, naive or not, except ETS and the training mean, which failed."
    )
    assert line(failed=failed, last_value="better") == "By MASE, the winner beats the last value."


def test_baselines_that_failed_are_named_with_their_reason():
    failures = pd.DataFrame({"name": ["ETS"], "reason": ["it took too long."]})
    assert baseline_sentences.failed_baseline_sentences(failures) == [
        "The winner could not be compared with ETS, which failed: it took too long."
    ]


@pytest.mark.parametrize(("without", "has"), [(1, "s0 has"), (2, "s0 and s1 have")])
def test_series_without_a_finite_mase_are_counted(without, has):
    table = pd.DataFrame({"series": ["s0", "s1", "s2"], "mase": np.where(np.arange(3) < without, math.nan, 1.0)})
    (sentence,) = baseline_sentences.mase_coverage_sentences(table)
    assert sentence.startswith(f"The MASE is the mean over {3 - without} of 3 series: {has} no finite MASE, because")
    assert baseline_sentences.mase_coverage_sentences(table[2:]) == []
