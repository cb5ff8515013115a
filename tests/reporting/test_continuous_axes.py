"""Settings drawn from ranges: described in bins and by rank correlations, and never tested."""

import contextlib
import json
import sqlite3

import numpy as np
import optuna
import pytest
from made_up_runs import LOSS, frame, run

from gridcast.reporting import continuous_axes, optuna_study, record, report_findings, report_page
from gridcast.reporting.continuous_axes import Bin, in_bins, rank_correlations
from gridcast.reporting.report import draw_figures
from gridcast.runtime.errors import ConfigError
from made_up_sweep import sweep

RATES = np.geomspace(1e-4, 1e-2, 12)
RANGE = {"low": 1e-4, "high": 1e-2, "log": True, "step": None, "is_integer": False}


def drawn(rates=RATES, effect=1.0, seeds=(0,)):
    random = np.random.default_rng(0)
    return frame(
        *(
            run(effect * np.log(rate) + random.normal(0, 0.1) + 20, seed, learning_rate=float(rate))
            for seed in seeds
            for rate in random.permutation(rates)
        )
    )


def test_bins_hold_about_as_many_values_each_and_keep_their_order():
    binned = in_bins(drawn(), ["learning_rate"])
    bins = sorted(binned["learning_rate"].unique())
    assert len(bins) == continuous_axes.BINS
    assert binned["learning_rate"].value_counts().tolist() == [3, 3, 3, 3]
    assert str(bins[0]) == f"0.0001 to {RATES[2]:g}"
    few = drawn(RATES[:3])
    assert in_bins(few, ["learning_rate"]).equals(few)
    assert str(Bin(0.5, 0.5)) == "0.5"


def test_correlations_are_within_seeds_and_need_runs():
    table = rank_correlations(drawn(seeds=(0, 1)), ["learning_rate", "dropout"], LOSS)
    assert table["runs"].tolist() == [12] * 4
    assert (table["correlation"][:2] > 0.9).all()
    assert table["correlation"][2:].isna().all()  # dropout did not vary
    assert rank_correlations(drawn(RATES[:7]), ["learning_rate"], LOSS)["correlation"].isna().all()


def test_sentences_describe_and_claim_nothing():
    table = rank_correlations(drawn(), ["learning_rate"], LOSS)
    (sentence,) = continuous_axes.correlation_sentences(table, LOSS)
    assert "learning rate +" in sentence
    assert "(12 runs)" in sentence
    assert sentence.endswith("and is not tested.")
    too_few = rank_correlations(drawn(RATES[:7]), ["learning_rate"], LOSS)
    assert continuous_axes.correlation_sentences(too_few, LOSS) == [
        "Too few runs were drawn to describe learning rate (at least 8 of a seed)."
    ]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A sweep of 24 runs with a learning rate of their own each, and units from a list."""
    folder = tmp_path_factory.mktemp("searched")
    rates = [round(float(rate), 6) for rate in RATES]
    more = {"ranges": {"learning_rate": RANGE}, "planned_runs": 40, "search": {"strategy": "random"}}
    store = sweep(folder, {"units": [8, 64], "learning_rate": rates}, more=more)
    return folder, store, record.read_sweep(store, "made-up")


def test_a_report_of_drawn_settings_is_whole(searched):
    _, _, read = searched
    found = report_findings.compute_findings(read)
    assert read.planned == 40
    assert set(found.effects.contrasts["axis"]) == {"units"}
    main = found.effects.main
    assert main[main["axis"] == "learning_rate"]["count"].tolist() == [6, 6, 6, 6]
    assert any("Rank correlation with validation loss" in sentence for sentence in found.sentences)
    assert not any("learning rate" in sentence and "beat" in sentence for sentence in found.sentences)
    assert any("trained 24 of 40 runs" in sentence for sentence in found.limitations)
    figures = draw_figures(read, found)
    assert {"grid_search_analysis", "interactions", "parallel_coordinates"} <= figures.keys()
    lines = report_page._run_lines(read)
    rates = next(axis for axis in lines["axes"] if axis["name"] == "learning rate")
    assert len(rates["values"]) == continuous_axes.BINS


def test_the_study_opens_in_optuna_with_every_run(searched):
    folder, store, read = searched
    path = folder / "study.db"
    assert optuna_study.write_study(read, store, path) == 24
    assert optuna_study.write_study(read, store, path) == 24  # in place of the first
    study = optuna.load_study(study_name="made-up", storage=f"sqlite:///{path}")
    assert study.direction.name == "MINIMIZE"
    assert study.metric_names == ["best_val_loss"]
    assert study.best_value == pytest.approx(read.runs["best_val_loss"].min())
    best = study.best_trial
    assert best.user_attrs["run"] == read.best_run_id
    assert isinstance(best.distributions["learning_rate"], optuna.distributions.FloatDistribution)
    assert best.distributions["units"].choices == (8, 64)
    assert sorted(best.intermediate_values) == [1, 2, 3, 4, 5, 6]
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("select count(*) from trials").fetchone() == (24,)


def test_a_file_that_is_no_study_stays(searched):
    folder, store, read = searched
    path = folder / "notes.txt"
    path.write_text(json.dumps("mine"))
    with pytest.raises(ConfigError, match="notes.txt: is not a study of Optuna, and stays as it is"):
        optuna_study.write_study(read, store, path)
    with pytest.raises(ConfigError, match="there is no folder"):
        optuna_study.write_study(read, store, folder / "none" / "study.db")
    assert json.loads(path.read_text()) == "mine"
