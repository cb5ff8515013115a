"""Sentences on confirmation and on looks at the test span, from records of sweeps."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gridcast.reporting import report_findings, report_page, selection_sentences
from gridcast.reporting.record import read_sweep
from gridcast.tracking.looks import Look
from made_up_sweep import GRID, sweep

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory):
    """A grid of one seed, of which the eight configurations of 64 units have two further seeds."""
    wide = [number for number in range(16) if number // 2 % 2]
    keys = {seed: [f"key-{3 * number + seed:03d}" for number in range(16)] for seed in SEEDS}
    more = {
        "run_keys": keys[0],
        "confirmation_keys": [keys[seed][number] for number in wide for seed in (1, 2)],
    }
    return read_sweep(
        sweep(tmp_path_factory.mktemp("confirmed"), GRID, seeds=SEEDS, tested=False, more=more), "made-up"
    )


def test_confirmation_runs_count_for_the_ranking_but_not_for_effects_of_settings(confirmed):
    assert (len(confirmed.runs), len(confirmed.grid_runs), confirmed.planned) == (32, 16, 32)
    findings = report_findings.compute_findings(confirmed)
    assert findings.effects.main.groupby("axis")["count"].sum().tolist() == [16] * 4
    assert set(findings.configurations["count"][:8]) == {3}
    assert set(findings.configurations["count"][8:]) == {1}
    assert set(findings.configurations["units"][:8]) == {64}
    means = confirmed.runs[confirmed.runs["units"] == 64].groupby("configuration")["best_val_loss"].mean()
    assert confirmed.best["configuration"] == means.idxmin()
    assert findings.sentences[0].startswith("All 32 runs finished.")
    (sentence,) = selection_sentences.confirmation_sentences(confirmed, findings.configurations)
    assert sentence in findings.sentences
    assert sentence.startswith(
        "The 8 leading configurations were each trained with further seeds (16 runs), and the best mean wins: 0.0"
    )
    page = report_page.render_page(confirmed, findings, {})
    spread = confirmed.runs.groupby("configuration")["best_val_loss"].std()[confirmed.best["configuration"]]
    assert f"± {spread:.4g} (3)" in page
    assert "32 of 32 runs" in page


def test_without_further_seeds_nothing_is_said_of_them(confirmed):
    best = confirmed.grid_runs.nsmallest(1, "best_val_loss")["run_id"].iloc[0]
    record = dataclasses.replace(confirmed, runs=confirmed.grid_runs, best_run_id=best)
    findings = report_findings.compute_findings(record)
    assert not any("further seeds" in sentence for sentence in findings.sentences)
    assert any("16 of 32 runs are not finished" in sentence for sentence in findings.limitations)


def test_an_interrupted_confirmation_can_be_reported(confirmed):
    """No configuration has all seeds: each leader has another one."""
    further = confirmed.runs[confirmed.runs["confirmation"]].sort_values("configuration")
    some = further.groupby("seed").nth([0, 5])
    runs = confirmed.runs[~confirmed.runs["confirmation"] | confirmed.runs["run_id"].isin(some["run_id"])]
    best = runs.nsmallest(1, "best_val_loss")["run_id"].iloc[0]
    findings = report_findings.compute_findings(dataclasses.replace(confirmed, runs=runs, best_run_id=best))
    assert len(findings.configurations) == 16


def looked(record, *looks):
    return selection_sentences.look_sentences(dataclasses.replace(record, looks=looks))


def test_looks_at_the_test_span(confirmed):
    own = Look(confirmed.winner_id, "sweep", 3.0, 0.9)
    others = [Look("a", "sweep", 1.0, 1.0), Look("b", "sweep", 2.0, 0.95), Look("a", "backtest", 4.0, np.nan)]
    assert looked(confirmed) == looked(confirmed, others[0]) == []
    assert looked(confirmed, own) == [
        "By the record of this store, the test span was looked at once: by this sweep, for these figures."
    ]
    assert looked(confirmed, others[0], others[1], own, others[2]) == [
        "By the record of this store, the test span was looked at 4 times (3 sweeps, 1 backtest); this sweep's look "
        "was number 3. If these 3 networks are equally good, the MASE of the best of them is about 5.6 % too low."
    ]
    assert looked(confirmed, own, others[2])[0].endswith("A choice after several looks flatters by an unknown amount.")
