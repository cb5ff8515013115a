"""The record of a baseline that wins: a model like that of a network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from gridcast.evaluation.artifact_files import TEST_PREFIX
from gridcast.runtime.model_files import SETTINGS_FILE
from gridcast.sweep.candidates import Candidate
from gridcast.sweep.plan import Plan
from gridcast.sweep.records import dataset_fields, input_example, own_metric_tags
from gridcast.tracking import mlflow_runs
from gridcast.tracking.run_recording import RunEntry


def contender_key(baseline_key: str) -> str:
    """Return the key of the model that is made of a baseline with this key."""
    return hashlib.sha256(f"{mlflow_runs.WINNER_KIND}/baseline/{baseline_key}".encode()).hexdigest()


def contender_entry(plan: Plan, candidate: Candidate, files: Mapping[str, bytes]) -> RunEntry:
    """Return the record of the baseline `candidate` with the model in `files`, and its measures of the validation."""
    lookback = json.loads(files[SETTINGS_FILE])["lookback"]
    about = {"baseline": candidate.name, "lookback": lookback}
    measures = {name: value for name, value in candidate.run.data.metrics.items() if not name.startswith(TEST_PREFIX)}
    return RunEntry(
        name=candidate.name,
        kind=mlflow_runs.WINNER_KIND,
        key=contender_key(plan.baseline_keys[candidate.name]),
        tags={
            mlflow_runs.FINGERPRINT_TAG: plan.fingerprint,
            mlflow_runs.CONFIGURATION_TAG: json.dumps(about),
            **own_metric_tags(plan),
        },
        params={**about, "horizon": plan.experiment.window.horizon},
        metrics=measures,
        files=files,
        backend=plan.backend,
        dataset=dataset_fields(plan),
        example=input_example(plan, lookback),
    )
