"""The sections of an experiment file, each with the checks that need no other section."""

from __future__ import annotations

import codecs
import math
import zoneinfo
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from gridcast.config.configuration import Loss
from gridcast.config.false_alarms import alarms_per_day
from gridcast.config.section import Section
from gridcast.config.selection_metrics import recorded_name
from gridcast.config.table_settings import NAMES_OF_SIGNS, Columns, Pivot, Wide
from gridcast.config.threshold_rules import RUNNING, checked_level
from gridcast.runtime import local_time
from gridcast.runtime.errors import ConfigError, suggest
from gridcast.runtime.frequencies import MAX_STEP_DAYS, is_possible

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=200)]
"""A name of folders and files too, which file systems limit to 255 characters."""
Share = Annotated[float, Field(gt=0, lt=1)]
Level = Annotated[float, Field(gt=0, lt=1)]


MAX_STEPS = 1_000_000
"""Limit of all counts of steps and epochs: more is a slip of the pen."""
MAX_LISTED = 1_000
"""Limit of lists of seeds, levels and names."""
CHAMPION_MARGIN = 0.01
"""Share by which a challenger must beat the champion where the experiment file does not say."""
FORMER_FREQUENCY, FORMER_CALENDAR = "D", "observed"
"""Defaults of versions that did not infer them: run keys have them where the experiment file has neither."""


class Select(Section):
    """The part of the data that is used: series and dates.

    `top` keeps the series with the largest totals over the training span; `only` names series by their ids.
    """

    top: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = None
    only: Annotated[Columns | None, Field(strict=False)] = None
    start: str | None = None
    end: str | None = None


class Data(Section):
    """The tables, the meaning of their columns, and how they are written; `config.descriptions` explains each key."""

    source: str
    time: str
    series: Annotated[Columns, Field(strict=False)] = ()
    target: str
    sensors: Annotated[Columns | None, Field(strict=False)] = None
    labels: str | None = None
    labelled: Literal["learn", "omit"] = "learn"
    past: Annotated[Columns, Field(strict=False)] = ()
    future: Annotated[Columns, Field(strict=False)] = ()
    static: Annotated[Columns, Field(strict=False)] = ()
    static_source: str | None = None
    frequency: str | None = None
    period: Annotated[int, Field(ge=2, le=MAX_STEPS)] | None = None
    calendar: Literal["observed", "regular", "trading"] | None = None
    time_zone: str | None = None
    gaps: Literal["error", "zero", "ffill", "interpolate", "keep"] = "error"
    repeated: Literal["error", "first", "last"] = "error"
    aggregate: Literal["none", "sum", "mean", "last"] = "none"
    zero_runs: Annotated[Literal["none", "mask", "feature"], Field(serialization_alias="exhibition")] = "none"
    dates: Literal["auto", "iso", "day-first", "month-first"] = "auto"
    time_unit: Literal["s", "ms", "us", "ns", "excel"] | None = None
    decimal: Literal["point", "comma"] | None = None
    thousands: Literal["point", "comma", "space", "apostrophe", "none"] | None = None
    missing: Annotated[tuple[str | int | float, ...], Field(strict=False)] = ()
    blanks: Literal["error", "zero", "ffill"] = "error"
    encoding: str | None = None
    separator: Literal["comma", "semicolon", "tab", "pipe"] | None = None
    skip: Annotated[int, Field(ge=0, le=MAX_STEPS)] = 0
    sheet: str | int | None = None
    query: str | None = None
    wide: Wide | None = None
    pivot: Pivot | None = None
    constant: Literal["keep", "drop"] = "keep"
    short: Literal["error", "drop"] = "error"
    select: Select = Select()

    @property
    def row_frequency(self) -> str | None:
        """The frequency that the stamps of the table are read by: rows are combined to days if nothing else is said."""
        return self.frequency or (None if self.aggregate == "none" else FORMER_FREQUENCY)

    @field_validator("frequency")
    @classmethod
    def _check_frequency(cls, value: str | None) -> str | None:
        if value is not None and not is_possible(value):
            raise ValueError(
                f"data.frequency: {value!r} is not a step, which is longer than 0 and at most {MAX_STEP_DAYS // 365} "
                "years (such as min, 15min, h, D, B, W, M, Q)"
            )
        return value

    @field_validator("time_zone")
    @classmethod
    def _check_time_zone(cls, value: str | None) -> str | None:
        if value is not None and not local_time.is_time_zone(value):
            zones = zoneinfo.available_timezones()
            raise ValueError(f"'{value}' is no time zone{suggest(value, zones)} (such as Europe/Berlin or UTC)")
        return value

    @model_validator(mode="after")
    def _check_static_source(self) -> Data:
        if self.static_source is not None and not (self.static and self.series):
            raise ValueError(
                f"data.static_source: '{self.static_source}' brings static columns by series; "
                f"name them in data.{'series' if self.static else 'static'}, or remove it"
            )
        return self

    @model_validator(mode="after")
    def _check_labelled(self) -> Data:
        if self.labelled == "omit" and self.labels is None:
            raise ValueError("data.labelled: omit needs data.labels, which say which steps; name them, or remove it")
        return self

    @model_validator(mode="after")
    def _check_signs(self) -> Data:
        if self.decimal is not None and self.decimal == self.thousands:
            raise ValueError(f"data.thousands: {self.thousands} is data.decimal too; the two signs differ")
        return self

    @field_validator("series", mode="before")
    @classmethod
    def _accept_one_column(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("missing", mode="before")
    @classmethod
    def _accept_one_value(cls, value: object) -> object:
        return (value,) if isinstance(value, str | int | float) else value

    @field_validator("decimal", "thousands", "separator", mode="before")
    @classmethod
    def _accept_signs(cls, value: object) -> object:
        return NAMES_OF_SIGNS.get(value, value) if isinstance(value, str) else value

    @field_validator("encoding")
    @classmethod
    def _check_encoding(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                is_of_text = codecs.lookup(value)._is_text_encoding
            except (LookupError, ValueError):
                is_of_text = False
            if not is_of_text:
                raise ValueError(f"data.encoding: '{value}' is unknown (such as utf-8, windows-1252, latin-1, utf-16)")
        return value


SENSOR_DEFAULTS: dict[str, Any] = {
    "series": ["sensor"],
    "target": "value",
    "sensors": [],
    "calendar": "regular",
    "gaps": "keep",
}
"""Defaults of `data` for a table with a column for each sensor."""


class Window(Section):
    """A window reads `lookback` steps and forecasts `horizon` steps; origins are `stride` steps apart."""

    lookback: Annotated[int, Field(ge=1, le=MAX_STEPS)]
    horizon: Annotated[int, Field(ge=1, le=MAX_STEPS)] = 1
    stride: Annotated[int, Field(ge=1, le=MAX_STEPS)] = 1


class Split(Section):
    """Chronological shares of the time axis, or, if `folds` is set, that many rolling origins.

    Each fold validates on `horizon` steps (default: those of the window), the next fold on the steps after; the last
    steps of all are the test span. `expanding` folds train on all steps before, others on as many as the first fold.
    """

    train: Share = 0.8
    validation: Share = 0.1
    test: Share = 0.1
    folds: Annotated[int, Field(ge=1, le=MAX_LISTED)] | None = None
    horizon: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = None
    expanding: bool = True

    @model_validator(mode="after")
    def _check_form(self) -> Split:
        if self.folds is None and self.model_fields_set & {"horizon", "expanding"}:
            raise ValueError("horizon and expanding belong to folds; write {folds: 4, horizon: 6}, or shares only")
        if self.folds is not None and self.model_fields_set & {"train", "validation", "test"}:
            raise ValueError("takes shares (train, validation, test) or folds, not both; remove one of them")
        return self

    @model_validator(mode="after")
    def _check_sum(self) -> Split:
        total = self.train + self.validation + self.test
        if not math.isclose(total, 1.0, abs_tol=1e-9):
            raise ValueError(f"train + validation + test must be 1, they are {total:g}")
        return self


class Transform(Section):
    """Scaling of the target, fitted on the training span, after log(1 + target) if `log1p`.

    With `floor: zero`, forecasts and quantiles below 0 are 0 where no value before the test span is negative.
    """

    log1p: bool = False
    scale: Literal["minmax", "standard", "mean-abs", "none"] = "minmax"
    floor: Literal["zero", "none"] = "zero"


class Probabilistic(Section):
    """The output of a probabilistic forecast: these `quantiles`, of `paths` sample paths.

    With `conformal` the quantiles are moved until they cover as often as they state on the validation span.
    """

    quantiles: Annotated[tuple[Level, ...], Field(strict=False, min_length=1, max_length=MAX_LISTED)] = (0.1, 0.5, 0.9)
    paths: Annotated[int, Field(ge=2, le=10000)] = 200
    conformal: bool = True

    @field_validator("quantiles")
    @classmethod
    def _check_order(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError(f"levels must ascend, each given once (got {list(value)})")
        return value


class Anomaly(Section):
    """The rule for anomalous steps and events.

    A step is anomalous if its score exceeds the `threshold` of that name, see `evaluation.thresholds`; `level` counts
    deviations, or is the share of false alarms. An event has at least `min_steps` anomalous steps; events with at most
    `merge_gap` steps between them are merged.

    `false_alarms` promises how many there are, such as `1 per week`, and sets the threshold in place of `level`; events
    then have one step and are merged over a window, unless these keys say otherwise. See
    `evaluation.promised_threshold`.
    """

    threshold: str = "mean-std"
    level: float | None = None
    false_alarms: str | None = None
    min_steps: Annotated[int, Field(ge=1, le=MAX_STEPS, serialization_alias="least")] = 1
    merge_gap: Annotated[int, Field(ge=0, le=MAX_STEPS, serialization_alias="gap")] = 0

    @model_validator(mode="after")
    def _check_threshold(self) -> Anomaly:
        try:
            checked_level(self.threshold, self.level)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    @model_validator(mode="after")
    def _check_promise(self) -> Anomaly:
        if self.false_alarms is None:
            return self
        alarms_per_day(self.false_alarms)
        if self.level is not None:
            raise ValueError("level and false_alarms both set the threshold; remove one of them")
        if self.threshold not in (RUNNING, type(self).model_fields["threshold"].default):
            raise ValueError(
                f"threshold: {self.threshold} and false_alarms both set the threshold; remove threshold, or write "
                f"{RUNNING}"
            )
        return self

    @property
    def promised_per_day(self) -> float | None:
        """The false alarms per day of the promise, if there is one."""
        return None if self.false_alarms is None else alarms_per_day(self.false_alarms)


class Training(Section):
    """How long, how often and with which engine each configuration is trained.

    With `decay: cosine` the learning rate falls to 0 over all `epochs`. `steps` limits the batches of an epoch, which
    is then a fresh random part of the windows. `max_minutes` is the training time that one run may take, `retries` how
    often it is tried again where that can help, `checkpoint_seconds` the time between saves of its state (0: after each
    epoch). `engine` is `fused`, which trains similar runs together in one compiled program, or `stock` Keras, one by
    one; `auto` is fused if the backend supports it (JAX). `callbacks` are plug-ins, for `stock` alone: Keras calls them
    in each run. With `refit` the winner is trained once more, on the training and validation spans together, and that
    model is the one that is promoted.
    """

    epochs: Annotated[int, Field(ge=1, le=MAX_STEPS)] = 50
    steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] | None = None
    patience: Annotated[int, Field(ge=1, le=MAX_STEPS)] = 10
    decay: Literal["none", "cosine"] = "none"
    loss: Loss = "mse"
    seeds: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=2**32)], ...], Field(strict=False, min_length=1, max_length=MAX_LISTED)
    ] = (0,)
    engine: Literal["auto", "stock", "fused"] = "auto"
    callbacks: Annotated[tuple[str, ...], Field(strict=False, max_length=MAX_LISTED)] = ()
    max_minutes: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    checkpoint_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 30.0
    refit: bool = False


class Ensemble(Section):
    """One model made of the `top` runs, whose outputs it combines.

    Forecasts: their mean, their median, or the mean weighted by 1 / error on the validation span: that of
    `selection.metric` where this is a `val_` metric, else the weighted quantile loss of probabilistic forecasts or the
    MAE; or `greedy`: the mean with the weights, some of them 0, that are best on the validation span, chosen among
    these runs and, with `contenders: all`, the baselines. Detectors: the geometric mean of their scores, each in units
    of its threshold, or the `minimum`: a step is anomalous if every member says so by its own threshold.
    """

    top: Annotated[int, Field(ge=2, le=50)] = 5
    combine: Literal["mean", "median", "weighted", "greedy", "minimum"] = "mean"


RELEVANT = 0.01
"""The share of an error below which a difference counts as none, unless the experiment says otherwise."""


class Selection(Section):
    """How the winner is chosen, and when it becomes champion; an `ensemble` takes the place of the best run.

    `metric` is one of the validation span: best_val_loss, best_val_mae, best_val_wql (of quantiles), val_mase,
    val_msse, val_wape, val_rmse, val_mape, val_smape, and, where higher is better, val_r2 and the share of forecasts
    within 5, 10 or 20 percent of the actual value (val_share_within_10 for 90 to 110 %); or one of your own, see
    `config.selection_metrics.Metric`. `val_` may be left out.

    Detectors can also be compared on validation steps with injected faults: by 1 - AUC-PR of the scores that a follower
    of a stream has (`val_online_faults_missed`; `val_online_varied_faults_missed` for faults of many kinds, sizes and
    lengths in place of short ones in one sensor), or by the false alarms at their threshold
    (`val_online_false_alarms_per_day`). `val_faults_missed` and `val_false_alarms_per_day` are the same in hindsight,
    as version 0.1 recorded them. `margin` is the share by which the winner's error must lie below that of each naive
    baseline (default 0) and of the champion (default 0.01, see `tracking.champion_gate`); `when_beaten` is what happens
    to a winner that a baseline beats. `relevant` is the share of an error below which a difference counts as none in
    the report. `contenders` are who may win: the networks of the grid, or the baselines too.
    """

    metric: str = "best_val_loss"
    promote_to: Name | None = None
    margin: Annotated[float, Field(ge=0, lt=1)] | None = None
    when_beaten: Literal["refuse", "warn"] = "refuse"
    ensemble: Ensemble | None = None
    contenders: Literal["networks", "all"] = "networks"
    relevant: Annotated[float, Field(gt=0, lt=1)] = RELEVANT

    @field_validator("metric", mode="before")
    @classmethod
    def _complete_name(cls, value: object) -> object:
        return recorded_name(value) if isinstance(value, str) else value

    @property
    def naive_margin(self) -> float:
        """The share by which the winner must beat each naive baseline."""
        return self.margin or 0.0

    @property
    def champion_margin(self) -> float:
        """The share by which the winner must beat the champion."""
        return CHAMPION_MARGIN if self.margin is None else self.margin
