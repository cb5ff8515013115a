"""Sweeps on white noise that differ in the seed alone: the first champion stays, whichever is luckiest."""

from __future__ import annotations

import contextlib

import numpy as np
import pandas as pd
import pytest

from gridcast.api.running import champion_evaluator
from gridcast.reporting import report_findings
from gridcast.reporting.record import read_sweep
from gridcast.runtime.errors import PromotionRefused
from gridcast.sweep import runner
from gridcast.sweep.events import SweepEvents
from gridcast.sweep.worker_job import WorkerSettings
from gridcast.tracking import promotion, registry
from gridcast.tracking.store import open_store
from small_experiments import planned

SEEDS = (0, 1, 2, 3, 4)


@pytest.mark.slow  # its smaller sibling simulates networks: tests/evaluation/test_paired_comparison.py
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")  # MLflow's own imports
def test_five_sweeps_on_white_noise_leave_the_first_champion(tmp_path, monkeypatch, programs):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    dates = pd.date_range("2023-01-02", periods=400).strftime("%Y-%m-%d")
    tables = [pd.DataFrame({"date": dates, "product": name, "quantity": random.normal(size=400)}) for name in "ab"]
    store = open_store("small", f"sqlite:///{tmp_path}/mlflow.db")
    errors, outcomes = [], []
    for seed in SEEDS:
        plan = planned(
            tmp_path,
            pd.concat(tables),
            training={"seeds": [seed], "epochs": 3},
            selection={"promote_to": "noise", "when_beaten": "warn"},
            baselines=["last value", "training mean"],
        )
        result = runner.run_sweep(plan, store, WorkerSettings(1, "jax", programs), SweepEvents())
        errors.append(next(iter(result.test_measures.values()))["mase"])
        with contextlib.suppress(PromotionRefused):
            promotion.promote(
                plan.experiment,
                store,
                result.winner,
                test_measures=result.test_measures,
                evaluate_champion=champion_evaluator(plan),
            )
        champion = registry.version_with_alias(store.client, store.client.get_registered_model("noise"), "champion")
        outcomes.append(str(champion.version))
    assert min(errors[1:]) < errors[0]  # so that a gate without a test would replace it
    assert outcomes == ["1"] * len(SEEDS)
    findings = report_findings.compute_findings(read_sweep(store, "small"))
    (sentence,) = (text for text in findings.sentences if "looked at" in text)
    bias = np.mean(errors) / min(errors) - 1
    assert "looked at 5 times (5 sweeps); this sweep's look was number 5." in sentence
    assert f"the MASE of the best of them is about {100 * bias:.2g} % too low." in sentence
