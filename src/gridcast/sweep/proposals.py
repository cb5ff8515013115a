"""The runs that a search has proposed from ranges: their record in MLflow, and the plan with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gridcast.config import Configuration
from gridcast.config.grid import Run
from gridcast.sweep.plan import Plan
from gridcast.tracking import mlflow_runs
from gridcast.tracking.store import Store

PROPOSALS = "proposals"
"""Key of sweep.json: settings and seed of each proposed run, by run key."""


def describe_proposals(runs: Mapping[str, Run]) -> dict[str, dict[str, Any]]:
    """Return what sweep.json says of the proposed `runs`."""
    return {key: {"settings": run.configuration.settings(), "seed": run.seed} for key, run in runs.items()}


def with_proposals(plan: Plan, store: Store) -> Plan:
    """Return the plan with the runs that its sweep has proposed, as the record has them.

    The same plan where the search proposes none, or has not begun.
    """
    if not plan.is_proposed:
        return plan
    begun = mlflow_runs.find_sweep(store, plan.sweep_key)
    if begun is None:
        return plan
    about = json.loads(mlflow_runs.read_artifact(store, begun.info.run_id, "sweep.json"))
    recorded = {
        key: Run(Configuration(**proposal["settings"]), proposal["seed"])
        for key, proposal in about.get(PROPOSALS, {}).items()
    }
    return replace(plan, runs={**recorded, **plan.runs})
