"""Runs of version 0.1 lack the metrics of live scores: they are not left out in silence."""

from types import SimpleNamespace

import pytest

from gridcast.runtime.errors import GridcastError
from gridcast.tracking import mlflow_runs, ranking


def run(key, **metrics):
    tags = {mlflow_runs.KEY_TAG: key, mlflow_runs.CONFIGURATION_TAG: key}
    return SimpleNamespace(data=SimpleNamespace(tags=tags, metrics=metrics))


NEW = run("new", val_faults_missed=0.5, val_online_faults_missed=0.7)
FORMER = run("former", val_faults_missed=0.4)


@pytest.mark.parametrize("rank", [ranking.best_run, ranking.rank_runs])
def test_former_runs_are_refused_where_live_scores_decide(rank):
    with pytest.raises(GridcastError, match=r"1 of 2 runs are of version 0.1 .*selection.metric: val_faults_missed"):
        rank([NEW, FORMER], "val_online_faults_missed")
    assert rank([NEW], "val_online_faults_missed") in (NEW, [NEW])
    assert rank([NEW, FORMER], "val_faults_missed") in (FORMER, [FORMER, NEW])
