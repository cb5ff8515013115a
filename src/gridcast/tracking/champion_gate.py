"""The gate between a challenger and the champion: the champion stays unless the challenger is shown to be better.

Both are compared on the same windows of the challenger's test span; detectors by the scores that a follower of the
stream would have had. The challenger replaces the champion if its error
is lower by `selection.margin` (0.01 where the file does not say) and a paired test rejects that they are equally good;
the p value is multiplied by the number of challengers that were tested on this span, since the luckiest of several is
better by chance alone. A challenger that is not shown to be better replaces the champion only if it has fewer
parameters and is shown to be worse by less than the margin, or if that is asked for.
"""

from __future__ import annotations

import json
import math
from typing import Any, Literal

import pandas as pd

from gridcast.evaluation import artifact_files, detection_metrics, detection_table, forecast_table, paired_comparison
from gridcast.evaluation.artifact_files import TEST_PREFIX
from gridcast.evaluation.origin_losses import limit_below
from gridcast.evaluation.paired_comparison import PairedComparison
from gridcast.runtime.detector import SCORE
from gridcast.runtime.errors import TrackingError
from gridcast.tracking import looks, mlflow_runs, model_loading, ranking
from gridcast.tracking.mlflow_runs import FINGERPRINT_TAG, KEY_TAG, MODEL_NAME
from gridcast.tracking.promotion_case import PromotionCase
from gridcast.tracking.store import first_line

ALPHA = 0.05
"""Largest p value of what counts as shown."""


def refusal_of_champion(case: PromotionCase) -> str | None:
    """Return why the challenger does not replace the champion; None if it does, or if there is no champion."""
    if case.champion is None or case.is_unlabelled:
        return None
    try:
        comparison = _compare(case)
    # A champion that fails, for whatever reason, must not be replaced without a comparison.
    except Exception as error:  # noqa: BLE001
        version = case.champion.version
        return f"the champion, version {version}, cannot be evaluated on these data: {first_line(error)}"
    if math.isnan(comparison.other):
        return None
    challengers = _count_challengers(case)
    standing = judge(comparison, margin=case.experiment.selection.champion_margin, challengers=challengers)
    if standing == "better" or (case.if_not_worse and standing != "worse"):
        return None
    if standing == "not worse" and _is_simpler(case):
        return None
    return _refusal_text(case, comparison, challengers, is_worse=standing == "worse")


def judge(
    comparison: PairedComparison, *, margin: float, challengers: int
) -> Literal["better", "not worse", "level", "worse"]:
    """Return what is shown of the first against the other, in the worst case for it.

    `better`: lower by the margin, and significantly; `not worse`: worse by less than the margin at most; `worse`:
    significantly higher; `level`: none of these. `challengers` is the number of tests that p values are corrected for.
    """
    is_lower = comparison.error < comparison.other and comparison.error <= limit_below(comparison.other, margin)
    if is_lower and comparison.p_value * challengers <= ALPHA:
        return "better"
    if comparison.p_not_worse * challengers <= ALPHA:
        return "not worse"
    if comparison.error > comparison.other and comparison.p_value <= ALPHA:
        return "worse"
    return "level"


def _is_simpler(case: PromotionCase) -> bool:
    champion = case.store.client.get_run(case.champion.run_id or "")
    parameters, others = (run.data.metrics.get("parameters", math.nan) for run in (case.run, champion))
    return bool(parameters < others)


def _refusal_text(case: PromotionCase, comparison: PairedComparison, challengers: int, *, is_worse: bool) -> str:
    margin = case.experiment.selection.champion_margin
    verb = "is not shown to beat" if comparison.error < comparison.other else "does not beat"
    corrected = f", corrected for {challengers} challengers tested there" if challengers > 1 else ""
    test = f"p {min(1.0, comparison.p_value * challengers):.2g}{corrected}"
    if math.isnan(comparison.p_value):
        test = "which cannot be tested"
    text = (
        f"{comparison.measure} {comparison.error:.4g} {verb} the champion, version {case.champion.version}, with "
        f"{comparison.other:.4g} on the same test span ({comparison.units}, {test}); at most "
        f"{limit_below(comparison.other, margin):.4g} (selection.margin {margin:g}) and p {ALPHA:g} are needed"
    )
    if is_worse:
        return text
    return f"{text}; they cannot be told apart, so the champion stays, unless you promote with --if-not-worse"


def _count_challengers(case: PromotionCase) -> int:
    """The number of networks that were tested on this span, without the first of them."""
    sweep_id = mlflow_runs.sweep_id(case.run) or ""
    about = json.loads(mlflow_runs.read_artifact(case.store, sweep_id, "sweep.json"))
    seen = looks.find_looks(case.store, about["fingerprint"], about["spans"]["test"])
    return max(1, len(looks.network_errors(seen)) - 1)


def _compare(case: PromotionCase) -> PairedComparison:
    challenger = _challenger_table(case)
    champion = _recorded_table(case, challenger)
    if champion is None:
        champion = case.evaluate(model_loading.download_files(f"models:/{case.champion.name}/{case.champion.version}"))
        _record_look(case, champion)
    margin, window = case.experiment.selection.champion_margin, case.experiment.window
    if case.is_detector:
        time = case.experiment.data.time
        return paired_comparison.compare_detections(challenger, champion, margin=margin, time=time)
    overlap = math.ceil(window.horizon / window.stride)
    return paired_comparison.compare_forecasts(
        challenger, champion, measure=case.measure, margin=margin, overlap=overlap
    )


def _challenger_table(case: PromotionCase) -> pd.DataFrame:
    """The results of the challenger on the test span. Raises TrackingError where it was not tested."""
    key = case.run.data.tags[KEY_TAG]
    test = mlflow_runs.tested_runs(case.store, [key]).get(key)
    if test is None:
        raise TrackingError(f"the run with key {key[:12]} has no recorded test")
    if _is_in_hindsight(case, test):
        return case.evaluate(model_loading.download_files(f"runs:/{case.run.info.run_id}/{MODEL_NAME}"))
    return _table_of(case, test)


def _is_in_hindsight(case: PromotionCase, test: Any) -> bool:
    """Whether the recorded scores of a detector are those in hindsight, as version 0.1 recorded them."""
    return case.is_detector and detection_table.WAIT not in ranking.test_measures(test)


def _table_of(case: PromotionCase, test: Any) -> pd.DataFrame:
    name = artifact_files.SCORES if case.is_detector else artifact_files.FORECASTS
    return artifact_files.read_parquet_bytes(mlflow_runs.read_artifact(case.store, test.info.run_id, name))


def _recorded_table(case: PromotionCase, challenger: pd.DataFrame) -> pd.DataFrame | None:
    """Return the recorded results of the champion if it was tested on the very points of the challenger, else None."""
    from mlflow.exceptions import MlflowException

    store, champion = case.store, case.champion
    try:
        run = store.client.get_run(champion.run_id or "")
        fingerprint = run.data.tags.get(FINGERPRINT_TAG)
        if run.info.experiment_id != store.experiment or fingerprint != case.run.data.tags[FINGERPRINT_TAG]:
            return None
        key = run.data.tags.get(KEY_TAG, "")
        test = mlflow_runs.tested_runs(store, [key]).get(key)
        if test is None or mlflow_runs.tested_run_id(test) != champion.run_id or _is_in_hindsight(case, test):
            return None
        table = _table_of(case, test)
    except (MlflowException, TrackingError):
        return None
    # The same data can be split in several ways: the tests must agree in points and scales, or in stamps and labels.
    columns = forecast_table.MODEL_INDEPENDENT_COLUMNS
    if case.is_detector:
        columns = [case.experiment.data.time, detection_table.LABELLED]
    return table if challenger[columns].equals(table[columns]) else None


def _record_look(case: PromotionCase, table: pd.DataFrame) -> None:
    """Record that the champion was evaluated on the challenger's test span."""
    if case.is_detector:
        score, labels = table[SCORE].to_numpy(float), table[detection_table.LABELLED].to_numpy(bool)
        measures = {"auc_pr": detection_metrics.auc_pr(score, labels)}
    else:
        measured = forecast_table.measure_forecasts(table)
        measures = {name.removeprefix(TEST_PREFIX): value for name, value in measured.items()}
    sweep_id = mlflow_runs.sweep_id(case.run) or ""
    about = json.loads(mlflow_runs.read_artifact(case.store, sweep_id, "sweep.json"))
    looks.record_look(
        case.store,
        sweep_id,
        name=f"{case.champion.name} version {case.champion.version} on the test span",
        purpose=looks.PROMOTION,
        key=looks.span_key(about["fingerprint"], about["spans"]["test"]),
        what="",
        run_id=case.champion.run_id or "",
        measures=measures,
    )
