"""Who wins a sweep, by costs alone."""

from types import SimpleNamespace

import pytest

from gridcast.sweep import candidates
from gridcast.sweep.candidates import BASELINE, NETWORK, Candidate

LOSS, ALARMS, MISSED = "best_val_loss", "val_online_false_alarms_per_day", "val_online_faults_missed"
BETTER_LOSS, BETTER_MAE = {LOSS: 0.5, "best_val_mae": 2.0}, {LOSS: 0.6, "best_val_mae": 1.0}


def run(ensemble=None, **metrics):
    params = {"ensemble": ensemble} if ensemble else {}
    data = SimpleNamespace(metrics=metrics, tags={"mlflow.runName": "both"}, params=params)
    return SimpleNamespace(data=data, info=SimpleNamespace(run_name="both", run_id="1"))


def single(**metrics):
    return Candidate(NETWORK, "GRU", 0.0, "", run(**metrics))


def test_the_lowest_cost_wins_among_those_that_may_and_the_first_of_equal_ones():
    three = [Candidate(NETWORK, "GRU", 1.0, "val_mase", None), Candidate(BASELINE, "ETS", 0.9, "val_mase", None)]
    assert candidates.best_single(three).name == "ETS"
    only_networks = [three[0], Candidate(BASELINE, "ETS", 0.9, "val_mase", None, may_win=False)]
    assert candidates.best_single(only_networks).name == "GRU"
    assert candidates.best_single([three[0], Candidate(BASELINE, "ETS", 1.0, "val_mase", None)]).name == "GRU"


@pytest.mark.parametrize(
    ("combined", "alone", "metric", "is_better"),
    [
        (run("mean", val_mase=0.9), single(val_mase=1.0), "val_mase", True),
        (run("mean", val_mase=1.0), single(val_mase=1.0), "val_mase", False),
        (run("mean", val_r2=0.9), single(val_r2=0.8), "val_r2", True),  # higher is better
        # The mean of the members' losses is no loss of the ensemble: their errors are compared.
        (run("mean", **BETTER_LOSS), single(**BETTER_MAE), LOSS, False),
        (run("greedy", **BETTER_LOSS), single(**BETTER_MAE), LOSS, True),
        # Of likelihoods it has no loss, but a cross-validated error; without halves to validate on it has neither.
        (run("greedy", best_val_wql=0.9), single(best_val_loss=0.1, best_val_wql=1.0), LOSS, True),
        (run("greedy"), single(best_val_wql=1.0), "best_val_wql", False),
        # No false alarm on either side: the minimum raises fewer by construction.
        (run("minimum", **{ALARMS: 0.0}), single(**{ALARMS: 0.0}), ALARMS, True),
        (run("minimum", **{MISSED: 0.6}), single(**{MISSED: 0.5}), MISSED, False),
        (run("mean"), single(val_mase=1.0), "val_mase", False),  # it has no finite error
    ],
)
def test_an_ensemble_has_to_be_better_than_the_best_one_alone(combined, alone, metric, is_better):
    assert candidates.is_better(combined, alone, metric) == is_better
    assert candidates.of_ensemble(combined, alone, metric).may_win == is_better
