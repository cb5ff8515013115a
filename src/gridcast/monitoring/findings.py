"""The figures of one look at a model in use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gridcast.runtime.preprocessing import Preprocessing
from gridcast.sweep.plan import Plan
from gridcast.tracking.model_loading import LoadedModel
from gridcast.tracking.store import Store

CHAMPION_NAME = "champion"
"""What the model is called beside the baselines."""


ERROR_MEASURES = ("mase", "mae", "rmse")


@dataclass(frozen=True)
class AlarmLimits:
    """What a champion may do before it needs a look.

    `error`: its live MASE, in units of that on the test span when it was promoted; `psi`: the population
    stability index of a feature, where it is rare among known stretches too; `coverage`: how far the share of
    values within its interval may lie below the promised one (0 to 1). What is told must also be unlikely
    by chance: `alpha` is the largest p value, for drift that of all features together.
    """

    error: float = 1.25
    psi: float = 0.1
    coverage: float = 0.1
    alpha: float = 0.01


@dataclass(frozen=True)
class WatchedModel:
    """A model in use, on the data of its sweep, and what was known of it when it was promoted.

    `about` is the record of the sweep; `before` the measures on the test span by name, its own first, and
    `tested` its forecasts there.
    """

    loaded: LoadedModel
    store: Store
    parent: str
    plan: Plan
    about: Mapping[str, Any]
    before: Mapping[str, Mapping[str, float]]
    tested: pd.DataFrame

    @property
    def name(self) -> str:
        """Of the registered model, else of its experiment."""
        return self.loaded.reference.name or self.plan.experiment.name

    @property
    def title(self) -> str:
        """For people."""
        found = self.loaded.reference
        return f"{found.name} version {found.version}" if found.name else found.uri

    @property
    def preprocessing(self) -> Preprocessing:
        """That of the forecaster."""
        own = Preprocessing.adopt(self.loaded.model.preprocessing)
        return own

    @property
    def overlap(self) -> int:
        """How many neighbouring origins share a step to forecast, by which their errors depend on each other."""
        return math.ceil(self.preprocessing.horizon / self.plan.dataset.stride)


@dataclass(frozen=True)
class IntervalCoverage:
    """Shares (0 to 1) of the values within the outermost interval: promised, live, and on the test span.

    `p_value` is that of "as many as promised".
    """

    promised: float
    live: float
    before: float
    p_value: float


@dataclass(frozen=True)
class MonitorFindings:
    """Every number of the page, before anything is drawn or written.

    `steps` of `series` are new, from `first` to `last`; `live` are the forecasts of them, as `evaluation.table` has
    them, `losses` their error by time and name, in units of MASE. `errors` has a row for the champion and each
    naive baseline: its live measures and those on the test span (`_before`); `p_value` is that
    of "the champion's has not risen". `drift` is a row for each feature and view, over the
    newest `judged` steps, with `drifted`; `movers` are the series that moved most, `stuck` those that stand
    still; `challengers` were asked on the same traffic. `alarms` say what is past its limit, `remarks` the rest.
    """

    model: WatchedModel
    limits: AlarmLimits
    first: pd.Timestamp
    last: pd.Timestamp
    steps: int
    series: int
    live: pd.DataFrame
    losses: pd.DataFrame
    errors: pd.DataFrame
    p_value: float
    coverage: IntervalCoverage | None
    drift: pd.DataFrame
    judged: int
    movers: pd.DataFrame
    stuck: pd.DataFrame
    challengers: pd.DataFrame
    notes: tuple[str, ...]
    alarms: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def own(self) -> dict[str, Any]:
        """The champion's row of `errors`."""
        return row_dicts(self.errors)[0]

    @property
    def naive(self) -> list[dict[str, Any]]:
        """The rows of the naive baselines that have a MASE, the best one first."""
        return row_dicts(self.errors.iloc[1:].dropna(subset="mase").sort_values("mase", kind="stable"))

    @property
    def ratio(self) -> float:
        """The champion's live MASE in units of that at promotion."""
        return float(self.own["mase"] / self.own["mase_before"])

    @property
    def headline(self) -> str:
        """The verdict in a sentence."""
        if not self.alarms:
            return f"{self.model.title} is as it was when it was promoted: nothing is past its limit."
        told = "one of its figures is past its limit" if len(self.alarms) == 1 else f"{len(self.alarms)} alarms"
        return f"{self.model.title} needs a look: {told}."

    @property
    def verdict(self) -> str:
        """The headline, the alarms and the rest, a sentence a line."""
        return "\n".join([self.headline, *self.alarms, *self.remarks])


def row_dicts(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
