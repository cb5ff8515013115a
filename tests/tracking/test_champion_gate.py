"""Which results of two detectors the champion gate compares: those of live scores, never those in hindsight."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest

from gridcast.tracking import champion_gate, mlflow_runs, model_loading
from gridcast.tracking.mlflow_runs import FINGERPRINT_TAG, KEY_TAG

LIVE = pd.DataFrame({"time": [1, 2], "score": [0.5, 2.0], "labelled": [False, True]})
RECORDED = LIVE.assign(score=[0.1, 9.0])


@pytest.fixture
def make_case(monkeypatch):
    """A function that returns a challenge of detectors whose tests have some metrics; new evaluations give LIVE."""

    def make(metrics):
        tags = {KEY_TAG: "key", FINGERPRINT_TAG: "f", mlflow_runs.WINNER_TAG: "id"}
        run = SimpleNamespace(info=SimpleNamespace(run_id="id", experiment_id="1"), data=SimpleNamespace(tags=tags))
        test = SimpleNamespace(info=run.info, data=SimpleNamespace(tags=tags, metrics=metrics))
        monkeypatch.setattr(mlflow_runs, "tested_runs", lambda _, keys: dict.fromkeys(keys, test))
        monkeypatch.setattr(champion_gate, "_table_of", lambda *_: RECORDED)
        monkeypatch.setattr(model_loading, "download_files", lambda uri: {uri: b""})
        return SimpleNamespace(
            store=SimpleNamespace(experiment="1", client=SimpleNamespace(get_run=lambda _: run)),
            run=run,
            champion=SimpleNamespace(run_id="id"),
            is_detector=True,
            experiment=SimpleNamespace(data=SimpleNamespace(time="time")),
            evaluate=lambda files: LIVE if list(files) == ["runs:/id/model"] else None,
        )

    return make


def test_recorded_live_scores_are_compared_as_they_are(make_case):
    case = make_case({"test_auc_pr": 0.9, "test_wait_steps": 3.0})
    assert champion_gate._challenger_table(case) is RECORDED
    assert champion_gate._recorded_table(case, LIVE) is RECORDED


def test_scores_that_were_recorded_in_hindsight_are_computed_again(make_case):
    case = make_case({"test_auc_pr": 0.9})
    assert champion_gate._challenger_table(case) is LIVE
    assert champion_gate._recorded_table(case, LIVE) is None
