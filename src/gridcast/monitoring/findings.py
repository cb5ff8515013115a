"""The figures that the monitor computes for a model in use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gridcast.monitoring.error_shift import ErrorShift
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.sweep.plan import Plan
from gridcast.tracking.looks import Look
from gridcast.tracking.model_loading import LoadedModel
from gridcast.tracking.store import Store

CHAMPION_NAME = "champion"
"""Name of the model in tables that also hold the baselines."""
ERROR_MEASURES = ("mase", "mae", "rmse")


@dataclass(frozen=True)
class AlarmLimits:
    """Limits beyond which the monitor raises an alarm.

    `error`: the live error, in units of that on the test span at promotion, see `error_shift`; `psi`: the population
    stability index of a feature; `coverage`: how far the share of values within the interval may lie below the nominal
    one (0 to 1). A figure beyond its limit must also be unlikely by chance: `alpha` is the largest p value, for drift
    that of all features together, for the error that of its two measures.
    """

    error: float = 1.25
    psi: float = 0.1
    coverage: float = 0.1
    alpha: float = 0.01


@dataclass(frozen=True)
class WatchedModel:
    """A model in use, with the data of its sweep and its results on the test span.

    `about` is sweep.json; `test_measures` are the measures on the test span by name, those of the model first;
    `test_forecasts` its forecasts there; `looks` are all looks at it, see `tracking.looks`.
    """

    loaded: LoadedModel
    store: Store
    parent: str
    plan: Plan
    about: Mapping[str, Any]
    test_measures: Mapping[str, Mapping[str, float]]
    test_forecasts: pd.DataFrame
    looks: Sequence[Look] = ()

    @property
    def name(self) -> str:
        """The name of the registered model, or else of its experiment."""
        return self.loaded.reference.name or self.plan.experiment.name

    @property
    def title(self) -> str:
        """The name and version, or else the URI, for messages."""
        reference = self.loaded.reference
        return f"{reference.name} version {reference.version}" if reference.name else reference.uri

    @property
    def preprocessing(self) -> Preprocessing:
        """The preprocessing of the forecaster."""
        return Preprocessing.adopt(self.loaded.model.preprocessing)

    @property
    def overlap(self) -> int:
        """How many neighbouring origins share a step to forecast, which makes their errors dependent."""
        return math.ceil(self.preprocessing.horizon / self.plan.dataset.stride)


@dataclass(frozen=True)
class IntervalCoverage:
    """Shares (0 to 1) of the values within the widest interval: nominal, live, and on the test span.

    `p_value` is that of the hypothesis that the live coverage is not below the nominal one.
    """

    nominal: float
    live: float
    test: float
    p_value: float


@dataclass(frozen=True)
class WorstError:
    """The largest error of one forecast: its series and time, and its share (0 to 1) in all errors."""

    series: str
    time: pd.Timestamp
    share: float


@dataclass(frozen=True)
class MonitorFindings:
    """Every number of the monitor page, before anything is drawn or written.

    `steps` of `series` are new, from `first` to `last`. `live_forecasts` are the forecasts of them, see
    `evaluation.forecast_table`; `losses` their error by time and name, in units of MASE. `errors` has a row for the
    champion and each naive baseline, with the live measures and those on the test span (`_before`); `shift` compares
    the champion's errors with those on the test span, and `worst` is its largest error. `drift` has a row for each
    feature and view over the newest `compared_steps`, with the column `drifted`; `movers` are the series that moved
    most, `stuck` those whose value no longer changes; `challengers` forecast the same requests. `alarms` and `remarks`
    are sentences.
    """

    model: WatchedModel
    limits: AlarmLimits
    first: pd.Timestamp
    last: pd.Timestamp
    steps: int
    series: int
    live_forecasts: pd.DataFrame
    losses: pd.DataFrame
    errors: pd.DataFrame
    shift: ErrorShift
    worst: WorstError | None
    coverage: IntervalCoverage | None
    drift: pd.DataFrame
    compared_steps: int
    movers: pd.DataFrame
    stuck: pd.DataFrame
    challengers: pd.DataFrame
    notes: tuple[str, ...]
    alarms: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def champion(self) -> dict[str, Any]:
        """The champion's row of `errors`."""
        return row_dicts(self.errors)[0]

    @property
    def naive(self) -> list[dict[str, Any]]:
        """The rows of `errors` of the naive baselines that have a MASE, best first."""
        return row_dicts(self.errors.iloc[1:].dropna(subset="mase").sort_values("mase", kind="stable"))

    @property
    def ratio(self) -> float:
        """The champion's live MASE in units of that at promotion."""
        return float(self.champion["mase"] / self.champion["mase_before"])

    @property
    def p_value(self) -> float:
        """The p value of the hypothesis that the champion's error has not risen."""
        return self.shift.p_value

    @property
    def headline(self) -> str:
        """The verdict in one sentence."""
        if not self.alarms and self.shift.ratio > self.limits.error:
            return (
                f"{self.model.title} raises no alarm, but {self.shift.steps:,} judged steps cannot tell whether its "
                "error has risen."
            )
        if not self.alarms and self.ratio > self.limits.error:
            return (
                f"{self.model.title} raises no alarm, but {self.shift.off:,} of {self.shift.steps:,} judged steps are "
                "off, some of them far."
            )
        if not self.alarms:
            return f"{self.model.title} raises no alarm: nothing exceeds its limit."
        count = "1 alarm" if len(self.alarms) == 1 else f"{len(self.alarms)} alarms"
        return f"{self.model.title} needs a look: {count}."

    @property
    def verdict(self) -> str:
        """The headline, the alarms and the remarks, one sentence a line."""
        return "\n".join([self.headline, *self.alarms, *self.remarks])


def row_dicts(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of `table` as dicts with text keys."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
