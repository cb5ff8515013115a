"""Each metric has a direction. Runs of version 0.1 lack live scores: they are not left out in silence."""

from types import SimpleNamespace

import pytest

from gridcast.runtime.errors import GridcastError
from gridcast.tracking import mlflow_runs, ranking


def run(key, **metrics):
    tags = {mlflow_runs.KEY_TAG: key, mlflow_runs.CONFIGURATION_TAG: key}
    return SimpleNamespace(data=SimpleNamespace(tags=tags, metrics=metrics))


def test_each_metric_is_ranked_in_its_direction():
    runs = [run("a", val_r2=0.3, val_mase=0.9), run("b", val_r2=0.5, val_mase=1.2), run("c", val_r2=0.4, val_mase=0.7)]
    assert ranking.best_run(runs, "val_r2").data.tags[mlflow_runs.KEY_TAG] == "b"
    assert [one.data.tags[mlflow_runs.KEY_TAG] for one in ranking.rank_runs(runs, "val_r2")] == ["b", "c", "a"]
    assert ranking.best_run(runs, "val_mase").data.tags[mlflow_runs.KEY_TAG] == "c"
    assert ranking.cost(runs[0], "val_r2") == 0.7


def test_the_record_says_in_which_direction_ones_own_metric_is_better():
    runs = [run("a", val_profit=3.0), run("b", val_profit=5.0)]
    assert ranking.best_run(runs, "val_profit").data.tags[mlflow_runs.KEY_TAG] == "a"
    for one in runs:
        one.data.tags[mlflow_runs.DIRECTION_TAG] = "val_profit val_hits"
    assert ranking.best_run(runs, "val_profit").data.tags[mlflow_runs.KEY_TAG] == "b"
    assert ranking.cost(runs[1], "val_profit") == -5.0


NEW = run("new", val_faults_missed=0.5, val_online_faults_missed=0.7)
FORMER = run("former", val_faults_missed=0.4)


@pytest.mark.parametrize("rank", [ranking.best_run, ranking.rank_runs])
def test_former_runs_are_refused_where_live_scores_decide(rank):
    with pytest.raises(GridcastError, match=r"1 of 2 runs are of version 0.1 .*selection.metric: val_faults_missed"):
        rank([NEW, FORMER], "val_online_faults_missed")
    assert rank([NEW], "val_online_faults_missed") in (NEW, [NEW])
    assert rank([NEW, FORMER], "val_faults_missed") in (FORMER, [FORMER, NEW])
