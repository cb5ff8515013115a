"""One forecaster of the best runs: which belong to it, what each of them counts, and its record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gridcast import evaluation, metrics, tracking
from gridcast.config import Ensemble
from gridcast.forecaster import MEMBERS, NETWORK, SETTINGS
from gridcast.models.likelihoods import DIRECT
from gridcast.plan import Plan
from gridcast.tracking import Entry, Store

TABLE = "members.csv"
"""Who belongs to it: run, name, weight, validation error."""
TITLES = {"mean": "mean", "median": "median", "weighted": "weighted mean"}
SMALLEST = 1e-12


@dataclass(frozen=True)
class Team:
    """The MLflow `runs` of an ensemble, best first, and their `weights`, which add up to 1; None: the median."""

    combine: str
    runs: tuple[Any, ...]
    weights: tuple[float, ...] | None

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{TITLES[self.combine]} of the {len(self.runs)} best runs"

    @property
    def key(self) -> str:
        """The same for the same members, combined in the same way."""
        text = json.dumps([self.combine, *(run.data.tags[tracking.KEY] for run in self.runs)])
        return hashlib.sha256(f"{tracking.MADE}/{text}".encode()).hexdigest()


def choose(asked: Ensemble, runs: Sequence[Any], metric: str, last: int) -> Team:
    """The team of the finished MLflow `runs` that `asked` wants: the best by `metric` on the `last` fold.

    Fewer where there are fewer. Raises GridcastError when none has a finite metric.
    """
    chosen = evaluation.ranked(runs, metric, last)[: asked.top]
    shares = [1 / max(error(run), SMALLEST) if asked.combine == "weighted" else 1.0 for run in chosen]
    weights = None if asked.combine == "median" else tuple(share / sum(shares) for share in shares)
    return Team(asked.combine, tuple(chosen), weights)


def error(run: Any) -> float:
    """The validation error of a run by which members are weighed: of its quantiles where it has some."""
    own = run.data.metrics
    return float(own["best_val_wql"] if "best_val_wql" in own else own["best_val_mae"])


def files(team: Team, store: Store) -> dict[str, bytes]:
    """What `forecaster.load` reads: every member's settings and network, and how they are combined."""
    found: dict[str, bytes] = {}
    names = []
    contents = []
    for number, run in enumerate(team.runs):
        own = tracking.model_files(store, run.info.run_id)
        names.append((f"member-{number}.json", f"member-{number}.keras"))
        found |= dict(zip(names[-1], (own[SETTINGS], own[NETWORK]), strict=True))
        contents.append(json.loads(own[SETTINGS]))
    # A table is read as far back as any member wants it.
    settings = max(contents, key=lambda content: int(content["lookback"]))
    if "quantiles" in settings:
        # Samples go on beyond the horizon; one member that cannot is enough.
        likelihoods = [content["quantiles"]["likelihood"] for content in contents]
        told = DIRECT if DIRECT in likelihoods else likelihoods[0]
        settings |= {"quantiles": settings["quantiles"] | {"likelihood": told, "correction": None}}
    combined = {"members": names, "weights": team.weights}
    return found | {MEMBERS: json.dumps(combined).encode(), SETTINGS: json.dumps(settings).encode()}


def entry(plan: Plan, team: Team, files: Mapping[str, bytes], forecasts: evaluation.Forecasts) -> Entry:
    """The record of the ensemble kept in `files`, whose `forecasts` of the validation span tell its error.

    A loss it has none of its own: where that is `selection.metric`, the mean of its members' stands there.
    """
    settings = json.loads(files[SETTINGS])
    actual = plan.material.actual(forecasts.index)
    measured = {"best_val_mae": metrics.mae(actual, forecasts.forecast)}
    if forecasts.quantiles is not None:
        measured["best_val_wql"] = metrics.weighted_quantile_loss(actual, forecasts.quantiles, forecasts.levels)
    own = [run.data.metrics for run in team.runs]
    measured = {"best_val_loss": sum(one["best_val_loss"] for one in own) / len(own)} | measured
    measured |= {name: float(sum(one[name] for one in own)) for name in ("parameters", "fit_seconds")}
    table = pd.DataFrame(
        {
            "run": [run.info.run_id for run in team.runs],
            "name": [tracking.name(run) for run in team.runs],
            "weight": team.weights or [float("nan")] * len(own),
            "validation error": [error(run) for run in team.runs],
        }
    )
    about = {"ensemble": team.combine, "members": len(own), "lookback": settings["lookback"]}
    return Entry(
        name=team.name,
        kind=tracking.MADE,
        key=team.key,
        tags={tracking.FINGERPRINT: plan.fingerprint, tracking.CONFIGURATION: json.dumps(about)},
        params={**about, "horizon": plan.experiment.window.horizon},
        metrics=measured,
        files=files,
        artifacts={TABLE: table.to_csv(index=False).encode()},
        backend=plan.backend,
    )
