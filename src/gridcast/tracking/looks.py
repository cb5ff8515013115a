"""Looks at a test span: every evaluation of a trained network on it, counted over all experiments of a store.

A look is one MLflow run: the winner of a sweep, which was tested there, or a run of its own for a champion that a
promotion evaluated on it and for a backtest that touches it. Deleted runs count too: what was seen stays seen. The
baselines are no looks, since nothing is chosen by them.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gridcast.evaluation import detection_table
from gridcast.evaluation.artifact_files import TEST_PREFIX
from gridcast.evaluation.best_of_looks import best_of_looks_bias
from gridcast.tracking import mlflow_runs, ranking, run_recording
from gridcast.tracking.mlflow_runs import FINGERPRINT_TAG, KIND_TAG, PAGE_SIZE, TESTED_TAG, WINNER_TAG
from gridcast.tracking.run_recording import RunEntry
from gridcast.tracking.store import Store, translate_mlflow_errors

LOOK_KIND = "look"
"""Kind of an MLflow run that holds nothing but a look."""
SPAN_TAG, PURPOSE_TAG = "gridcast.test_span", "gridcast.look"
SWEEP, PROMOTION, BACKTEST = "sweep", "promotion", "backtest"
"""Purposes of looks."""


@dataclass(frozen=True)
class Look:
    """One look: the run `run_id` whose network was evaluated, why, when (seconds since 1970), and its error.

    `error` is the MASE, or 1 - AUC-PR of a detector; NaN where it was not recorded, as for backtests, or not of the
    same kind of scores as others.
    """

    run_id: str
    purpose: str
    time: float
    error: float


def span_key(fingerprint: str, test_span: Sequence[str]) -> str:
    """Return the key of a test span: the digest of the data's fingerprint and of its first and last stamp."""
    return hashlib.sha256("/".join([fingerprint, *test_span]).encode()).hexdigest()


@translate_mlflow_errors
def find_looks(store: Store, fingerprint: str, test_span: Sequence[str]) -> list[Look]:
    """Return the looks at a test span in all experiments of the store, in the order of time."""
    key = span_key(fingerprint, test_span)
    runs = {run.info.run_id: run for run in _search_everywhere(store, f"tags.`{SPAN_TAG}` = '{key}'")}
    # Records of former versions have no key of the span: they count for every span of the same data.
    same_data = f"tags.`{FINGERPRINT_TAG}` = '{fingerprint}'"
    for condition in (f"tags.`{TESTED_TAG}` like '%'", f"tags.`{KIND_TAG}` = 'test'"):
        for run in _search_everywhere(store, f"{same_data} and {condition}"):
            if SPAN_TAG not in run.data.tags and run.info.status == "FINISHED":
                runs[run.info.run_id] = run
    in_hindsight = {run_id for run_id, run in runs.items() if _is_in_hindsight(run)}
    if in_hindsight == runs.keys():
        in_hindsight = set()
    found = [_as_look(run, has_error=run_id not in in_hindsight) for run_id, run in runs.items()]
    return sorted(found, key=lambda look: look.time)


def record_look(
    store: Store,
    sweep_id: str,
    *,
    name: str,
    purpose: str,
    key: str,
    what: str,
    run_id: str,
    measures: Mapping[str, float] | None = None,
) -> None:
    """Record a look at the span `key` as a child run of the sweep, unless the same look was recorded before.

    `what` is that which makes it the same; `run_id` is the run of the network; `measures` are those on the span.
    """
    look_key = hashlib.sha256(f"{purpose}/{key}/{run_id}/{what}".encode()).hexdigest()
    if mlflow_runs.finished_runs(store, [look_key], LOOK_KIND):
        return
    tags = {SPAN_TAG: key, PURPOSE_TAG: purpose, WINNER_TAG: run_id}
    metrics = {TEST_PREFIX + name: value for name, value in (measures or {}).items() if math.isfinite(value)}
    run_recording.record_run(store, sweep_id, RunEntry(name, LOOK_KIND, look_key, tags, metrics=metrics))


def network_errors(looks: Sequence[Look]) -> list[float]:
    """Return the error of each network that was tested on the span; of backtests none, which measure other windows."""
    return list({look.run_id: look.error for look in looks if look.purpose != BACKTEST}.values())


def describe_purposes(looks: Sequence[Look]) -> str:
    """Return how many looks had which purpose, such as `2 sweeps, 1 backtest`."""
    counts = Counter(look.purpose for look in looks)
    return ", ".join(
        f"{counts[purpose]} {purpose}{'s' if counts[purpose] > 1 else ''}"
        for purpose in (SWEEP, PROMOTION, BACKTEST)
        if counts[purpose]
    )


def flattery_text(errors: Sequence[float], error_name: str) -> str:
    """Return by how much the lowest of the `errors` of networks on one test span flatters, as a sentence."""
    bias, measured = best_of_looks_bias(errors), sum(map(math.isfinite, errors))
    if math.isnan(bias):
        return "A choice after several looks flatters by an unknown amount."
    networks = f"these {measured} networks" if measured == len(errors) else f"the {measured} networks with known errors"
    return f"If {networks} are equally good, the {error_name} of the best of them is about {100 * bias:.2g} % too low."


def _search_everywhere(store: Store, condition: str) -> Iterator[Any]:
    from mlflow.entities import ViewType

    client, everything = store.client, ViewType.ALL
    experiments = _pages(
        lambda token: client.search_experiments(view_type=everything, max_results=PAGE_SIZE, page_token=token)
    )
    ids = [experiment.experiment_id for experiment in experiments]
    return _pages(lambda token: client.search_runs(ids, condition, everything, max_results=PAGE_SIZE, page_token=token))


def _pages(search: Callable[[str | None], Any]) -> Iterator[Any]:
    """Yield the items of all pages, each of which `search` returns for the token of the one before."""
    token = None
    while True:
        page = search(token)
        yield from page
        token = page.token
        if not token:
            return


def _is_in_hindsight(run: Any) -> bool:
    """Whether version 0.1 recorded it: a detector's scores in hindsight, by the names that live scores have now."""
    measures = ranking.test_measures(run)
    return SPAN_TAG not in run.data.tags and "auc_pr" in measures and detection_table.WAIT not in measures


def _as_look(run: Any, *, has_error: bool) -> Look:
    tags = run.data.tags
    tested = tags.get(TESTED_TAG)
    return Look(
        run_id=tags.get(WINNER_TAG, run.info.run_id),
        purpose=tags.get(PURPOSE_TAG, SWEEP),
        time=datetime.fromisoformat(tested).timestamp() if tested else run.info.start_time / 1000,
        error=ranking.comparable_error(ranking.test_measures(run)) if has_error else math.nan,
    )
