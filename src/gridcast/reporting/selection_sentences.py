"""Sentences on how the winner was selected: with which seeds, and after how many looks at the test span."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from gridcast.evaluation.paired_comparison import DETECTION_ERROR
from gridcast.reporting import forecast_tables, words
from gridcast.reporting.record import SweepRecord
from gridcast.sweep.candidates import BASELINE, ENSEMBLE_OF_RUNS
from gridcast.tracking import looks


def confirmation_sentences(record: SweepRecord, configurations: pd.DataFrame) -> list[str]:
    """State that the leading configurations were confirmed with further seeds, and how the winner did over its own.

    `configurations` is the frame of `leaderboard.by_configuration`; nothing where no such run is finished.
    """
    further = record.runs[record.runs["confirmation"]]
    if not len(further):
        return []
    count = further["configuration"].nunique()
    subject = "The leading configuration was" if count == 1 else f"The {count} leading configurations were each"
    wins = "the best mean among them is" if len(record.members) else "the best mean wins:"
    winner = configurations[configurations["configuration"] == record.best["configuration"]].iloc[0]
    return [
        f"{subject} trained with further seeds ({len(further)} runs), and {wins} {winner['mean']:.4g} ± "
        f"{winner['spread']:.2g} (standard deviation) over the {winner['count']} runs of {winner['name']}."
    ]


def candidate_sentences(record: SweepRecord, against: pd.DataFrame) -> list[str]:
    """State how the winner was chosen among network, baselines and ensemble on the validation span.

    Where only networks may win, state what `selection.contenders: all` would have chosen, and what that is worth on the
    test span by the frame `against` of `baseline_comparison.compare_baselines`.
    """
    singles = [one for one in record.candidates if one["kind"] != ENSEMBLE_OF_RUNS]
    sentences = [_ensemble_refused(one, record) for one in record.candidates if _is_refused(one)]
    baselines = [one for one in singles if one["kind"] == BASELINE]
    if not baselines:
        return sentences
    network, best = singles[0], min(singles, key=lambda one: float(one["cost"]))
    metric = words.metric_name(record.metric)
    figures = f"{best['cost']:.4g} against {network['cost']:.4g} of the best network, {network['name']}"
    if best["may_win"]:
        count = f"{len(baselines)} baselines" if len(baselines) > 1 else "the baseline"
        if best["kind"] == BASELINE:
            return [f"Among the networks and {count}, {best['name']} has the lowest {metric}: {figures}.", *sentences]
        return [f"None of {count} has a lower {metric} than the best network.", *sentences]
    return [
        f"On the validation span the baseline {best['name']} is ahead: its {metric} is {figures}. With "
        f"selection.contenders: all it would be the winner{_worth(best['name'], against)}.",
        *sentences,
    ]


def _worth(name: str, against: pd.DataFrame) -> str:
    """By how much the winner's error on the test span differs from that of the baseline `name`, in words."""
    rows = against[against["name"] == name] if len(against) else against
    if not len(rows) or not np.isfinite(rows.iloc[0]["percent"]):
        return ""
    row = rows.iloc[0]
    test = f"not tested: {row['reason']}" if row["reason"] else words.p_text(float(row["p_value"]))
    percent = words.below_or_above(float(row["percent"]))
    return f", and on the test span the error of this winner is {percent} its own ({test})"


def _is_refused(candidate: Mapping[str, Any]) -> bool:
    return candidate["kind"] == ENSEMBLE_OF_RUNS and not candidate["may_win"]


def _ensemble_refused(candidate: Mapping[str, Any], record: SweepRecord) -> str:
    # Costs are named as such: of a metric of which higher is better they are its complement.
    is_of_selection = candidate["metric"] == record.selection_metric
    metric = words.metric_name(record.metric if is_of_selection else candidate["metric"])
    return (
        f"The {candidate['name']} was not taken: its {metric} is {candidate['cost']:.4g}, not below the "
        f"{candidate['other_cost']:.4g} of the best one alone."
    )


def refit_sentences(record: SweepRecord) -> list[str]:
    """State the errors on the test span of the refitted winner and of the one that was selected."""
    if not record.refit_measures or not record.forecasts.tests:
        return []
    name = str(record.leader["name"])
    before = forecast_tables.measure_table({name: record.forecasts.tests[name]}).iloc[0]
    return [
        f"Trained once more, on training and validation span together, it has a MASE of "
        f"{record.refit_measures['mase']:.4g} on unseen data ({before['mase']:.4g} before, not tested). This model is "
        "promoted; every other figure here is of the model before."
    ]


def look_sentences(record: SweepRecord) -> list[str]:
    """State how often the test span was looked at, and by how much the best of these looks flatters.

    Nothing where this sweep did not test its winner.
    """
    places = [place for place, look in enumerate(record.looks) if look.run_id == record.winner_id]
    if not places:
        return []
    if len(record.looks) == 1:
        return ["By the record of this store, the test span was looked at once: by this sweep, for these figures."]
    error_name = "MASE" if record.detection is None else DETECTION_ERROR
    return [
        f"By the record of this store, the test span was looked at {len(record.looks)} times "
        f"({looks.describe_purposes(record.looks)}); this sweep's look was number {places[0] + 1}. "
        f"{looks.flattery_text(looks.network_errors(record.looks), error_name)}"
    ]


def last_epoch_sentences(record: SweepRecord) -> list[str]:
    """Return a sentence where the error of the best run was still falling when its training ended."""
    best = record.best
    if not len(record.curves) or best["best_epoch"] < best["epochs_trained"]:
        return []
    trained = f"{best['epochs_trained']:.0f}"
    last = record.runs[record.runs["best_epoch"] >= record.runs["epochs_trained"]]
    others = f", as of {len(last)} of the {len(record.runs)} runs" if len(last) > 1 else ""
    return [
        f"Best epoch {trained} of {trained}: the error of the best run was still falling when its training "
        f"ended{others}: train longer (training.epochs)."
    ]
