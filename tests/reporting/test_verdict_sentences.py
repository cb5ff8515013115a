"""Each sentence of the verdict, word by word, from small frames."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import stdtr

from gridcast.reporting import verdict
from gridcast.reporting.verdict import Standing, standing_sentences

N = math.nan
NOTHING = pd.DataFrame()


def standing(*relations: str, **changes) -> list[str]:
    values = {"winner": "GRU-8 seed3", "metric": "best_val_loss", "value": 0.05, "configuration": "GRU-8"}
    values |= {"mean": 0.052, "replicates": 1, "runs": 9, "planned": 9, "failed": 0, "unit": "configuration"}
    values |= {"simplest": "", "compared_over": "over 3 seeds", "relevant": 0.01}
    names = {f"c{number}": relation for number, relation in enumerate(relations)}
    return standing_sentences(Standing(relations=names, **{**values, **changes}))


def test_unfinished_and_failed_runs_are_counted():
    (sentence,) = standing(runs=7, failed=2)
    assert sentence == "7 of 9 runs finished, 2 failed. The best by validation loss is GRU-8 seed3 (0.05)."


@pytest.mark.parametrize(
    ("relations", "sentence"),
    [
        (["worse"], "By validation loss it is shown to be ahead of the other configuration (over 3 seeds)."),
        (["unclear"], "It cannot be told apart from the other configuration (over 3 seeds)."),
        (
            ["tied", "tied", "worse", "unclear"],
            "It cannot be told apart from 3 of 4 other configurations (over 3 seeds), of which 2 are tied with it "
            "within 1 %.",
        ),
    ],
)
def test_one_and_several_others(relations, sentence):
    assert standing("best", *relations)[1:] == [sentence]


def test_two_runs_of_a_configuration_are_several():
    assert "Of the configurations with 2 runs" in standing(replicates=2)[0]


def routes(counts: dict[str, int], untrained: int = 0) -> list[str]:
    models = [model for model, count in counts.items() for _ in range(count)]
    names = [f"s{number}" for number in range(len(models))]
    errors = [N] * untrained + [1.0] * (len(models) - untrained)
    return verdict.routing_sentences(pd.DataFrame({"series": names, "model": models, "validation MAE": errors}))


def test_models_that_forecast_many_series_come_first_and_few_are_left_out():
    assert routes({}) == []
    assert routes({"GRU": 1, "LSTM": 2}) == ["The 3 series are forecast by LSTM (2) and GRU (1)."]
    five = {name: 6 - k for k, name in enumerate("abcde")}
    assert routes(five) == ["The 20 series are forecast by a (6), b (5), c (4), d (3) and e (2)."]
    assert routes(five | {"f": 1}) == ["The 21 series are forecast by a (6), b (5), c (4), d (3) and 2 more models."]
    assert routes({"GRU": 3}, untrained=2)[1] == (
        "s0 and s1 could not be trained (too short, or every run failed): a naive rule forecasts instead, and the "
        "forecasts say so."
    )


def whole(error: float, best: float = 2.0, combine: str = "mean", **of_best) -> str:
    metrics = dict.fromkeys(("best_val_wql", "val_online_faults_missed", "val_faults_missed"), N)
    winner = pd.Series({"name": "mean of the 3 best runs", **metrics, "best_val_mae": error})
    alone = pd.Series({"name": "GRU", **metrics, "best_val_mae": best, **of_best})
    members = pd.DataFrame({"run": ["a"]})
    (sentence,) = verdict.ensemble_sentences(members, combine=combine, winner=winner, best=alone)
    return sentence


def test_an_ensemble_against_its_best_member():
    begun = "The winner is the mean of the 3 best runs: its validation MAE is"
    assert whole(1.5) == f"{begun} 1.5, 25.0 % below that of the best run alone (2; not tested)."
    assert whole(1.5, combine="minimum").endswith(
        "(2; not tested). It raises an alarm where each of them does: fewer are false, and more faults may be missed."
    )
    # Only the best run has a quantile loss: the error is one that both have.
    assert whole(1.5, best_val_wql=0.3) == whole(1.5)
    nobody = pd.Series(dtype=float)
    assert verdict.ensemble_sentences(NOTHING, combine=None, winner=nobody, best=nobody) == []


def close(*shares: tuple[float, float, float]) -> str:
    names = ["net", "ridge", "ETS"][: len(shares)]
    columns = ("share_excellent", "share_good", "share_acceptable")
    rows = [{"name": name, **dict(zip(columns, own, strict=True))} for name, own in zip(names, shares, strict=True)]
    return verdict.closeness_sentence(pd.DataFrame(rows), "net")


def test_how_close_forecasts_came():
    within = "60 % of the winner's forecasts came within 5 % of the actual value"
    assert close((60, 15, 5)) == f"{within}, 75 % within 10 % and 80 % within 20 %; 20 % were further off."
    assert close((60, 30, 10)) == f"{within}, 90 % within 10 % and 100 % within 20 %; none were further off."
    assert close((60, 15, 5), (50, 5, 5), (50, 5, 10)).endswith(
        "20 % were further off (of the baselines, ETS came closest: 65 % within 20 %)."
    )


def test_the_quantile_loss_against_the_best_baseline_that_gives_quantiles():
    measures = pd.DataFrame({"name": ["net", "ETS"], "wql": [0.2, 0.3], "crps": [N, 1.0]})
    against = pd.DataFrame(
        {
            "name": ["naive", "ETS", "broken"],
            "error": [3.0, 2.0, 1.0],
            "percent": [-50.0, -20.0, N],
            "p_value": [0.001, 0.02, N],
            "reason": ["", "", "an error is not finite"],
        }
    )
    text = "Over the whole distribution, its forecasts have a weighted quantile loss of 0.2"
    found = verdict.quantile_loss_sentence(measures, "net", against)
    assert found == f"{text}, 20 % below that of ETS (p 0.02), the best baseline that gives quantiles."
    untested = against.assign(reason="one origin", p_value=N)
    assert "ETS (not tested: one origin), the best" in verdict.quantile_loss_sentence(measures, "net", untested)
    sampled = measures.assign(crps=[4.5, 1.0])
    assert verdict.quantile_loss_sentence(sampled, "net", against[:0]) == (
        f"{text} (and a CRPS of 4.5, from its sample paths, in data units); no baseline gives the same quantiles to "
        "compare with."
    )


def covered(coverage: float, low: float, high: float) -> str:
    row = {"coverage": coverage, "low": low, "high": high}
    rows = [
        {"name": "net", "nominal": 0.5, "coverage": 0.1, "low": 0.2, "high": 0.3},
        {"name": "net", "nominal": 0.8, **row},
        {"name": "ETS", "nominal": 0.8, "coverage": 0.1, "low": 0.2, "high": 0.3},
    ]
    return verdict.coverage_sentence(pd.DataFrame(rows), "net", 0.8)


def test_coverage_is_judged_by_what_chance_explains():
    text = "Its 80 % intervals cover 70 % of the actual values"
    assert covered(0.7, 0.6, 0.9) == f"{text}; correct intervals would cover 60 to 90 % here."
    assert covered(0.7, 0.7, 0.9) == f"{text}; correct intervals would cover 70 to 90 % here."
    assert covered(0.7, 0.6, 0.7) == f"{text}; correct intervals would cover 60 to 70 % here."
    assert covered(0.7, 0.75, 1.0) == f"{text}, fewer than chance explains: they are too narrow."
    assert covered(0.7, 0.0, 0.6) == (
        f"{text}, more than chance explains: they are wide, or many values equal a bound, as zeros may."
    )
    assert covered(0.7, 0.0, 1.0) == f"{text}: too few independent origins to judge that."
    assert covered(0.7, 0.6, 1.0) == f"{text}; correct intervals would cover 60 to 100 % here."
    assert covered(0.7, 0.0, 0.9) == f"{text}; correct intervals would cover 0 to 90 % here."


def by_step(net: list[float], other: list[float]) -> str:
    steps = np.arange(1, len(net) + 1)
    table = pd.concat(
        [pd.DataFrame({"name": "other", "step": steps, "mase": other}),
         pd.DataFrame({"name": "net", "step": steps[::-1], "mase": net[::-1]})]
    )  # fmt: skip
    return verdict.horizon_sentence(table, "net")


@pytest.mark.parametrize(
    ("net", "count"),
    [([0.5, 0.6, 0.7], "every one"), ([1.5, 1.6, 0.7], "1"), ([1.5, 1.6, 1.5], "none")],
)
def test_the_error_over_the_horizon(net, count):
    assert by_step(net, [1.0, 1.0, 1.0]) == (
        f"The winner's MASE is {net[0]:.3f} at the next step and {net[-1]:.3f} at step 3; it is the lowest of all at "
        f"{count} of the 3 steps (not tested)."
    )


def inputs(*rows: tuple[str, str, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["name", "kind", "rise", "spread"])


def said(permuted: pd.DataFrame, attention: pd.DataFrame = NOTHING, repeats: int = 5, alpha: float = 0.05) -> list[str]:
    return verdict.input_sentences(permuted, attention, repeats=repeats, relevant=0.01, alpha=alpha)


def test_inputs_are_named_from_the_one_that_counts_most_on():
    found = said(
        inputs(
            ("price", "covariate", 9.96, 0.1),
            ("pieces", "target", 42.0, 0.1),
            ("month", "covariate", 10.0, 0.1),
            ("flat", "covariate", N, N),
            ("shop", "static", 3.0, 0.1),
            ("day", "covariate", 2.0, 0.1),
            ("week", "covariate", 0.5, 0.1),
            ("lag 2", "lag", 5.0, 0.1),
            ("lag 1", "lag", 24.0, 0.1),
            ("lag 3", "lag", 0.1, 0.1),
        )
    )
    assert found == [
        "After shuffling the past of pieces among the windows the error is 42 % higher; after shuffling month 10 %, "
        "price 10.0 % and shop 3.0 %.",
        "After shuffling week the error is not shown to be higher by 1 % or more.",
        "Nothing can be said about flat: every window of the validation span has the same values.",
        "Of the past values, shuffling lag 1 alone costs most here: the error is 24 % higher (lag 1 is the step before "
        "the forecast).",
    ]


def test_the_rise_is_compared_with_the_spread_of_the_shuffles_by_students_t():
    # One of five draws from the same: t = rise / (spread sqrt(1 + 1 / 5)) with four degrees of freedom.
    for factor, begins in (
        (0.999, "After shuffling price the error is not shown"),
        (1.001, "After shuffling price am"),
    ):
        rise = factor * stats.t.ppf(0.975, 4) * math.sqrt(1.2)
        assert said(inputs(("price", "covariate", rise, 1.0)))[0].startswith(begins)
    # A p value of exactly the level is enough.
    p_value = float(2 * stdtr(4, -2.0 / np.sqrt(1 + 1 / 5)))
    assert "2.0 % higher" in said(inputs(("price", "covariate", 2.0, 1.0)), alpha=p_value)[0]
    # Of two inputs each has half the level.
    rise = 1.001 * stats.t.ppf(0.975, 4) * math.sqrt(1.2)
    two = inputs(("price", "covariate", rise, 1.0), ("month", "covariate", 0.0, 1.0))
    assert said(two)[0].startswith("After shuffling price and month the error is not shown")


def test_a_rise_of_exactly_the_relevant_share_counts_and_one_without_spread_needs_one():
    assert "1.0 % higher" in said(inputs(("price", "covariate", 1.0, 0.001)))[0]
    assert "not shown" in said(inputs(("price", "covariate", 0.995, 0.001)))[0]
    unused = said(inputs(("price", "covariate", 0.0, 0.0), ("month", "covariate", 0.0, 0.0)), alpha=0.9)
    assert unused == ["After shuffling price and month the error is not shown to be higher by 1 % or more."]
    assert "5.0 % higher" in said(inputs(("price", "covariate", 5.0, 0.0)))[0]


def test_a_fall_of_the_error_is_no_rise():
    assert "not shown" in said(inputs(("price", "covariate", -50.0, 0.1)))[0]


def test_lags_alone_are_no_inputs():
    assert said(inputs(("lag 1", "lag", 24.0, 0.1)))[0].startswith(
        "Of the past values, shuffling lag 1 alone costs most here"
    )


def test_where_attention_is_highest():
    attention = pd.DataFrame({"lag": [3, 2, 1], "share": [10.0, 60.0, 30.0]})
    found = said(inputs(("pieces", "target", 0.0, 1.0)), attention)
    assert found == ["Attention is highest at lag 2 (60 %; uniform would be 33 %)."]
    assert "uniform would be 50 %" in said(inputs(("pieces", "target", 0.0, 1.0)), attention[:2])[0]
