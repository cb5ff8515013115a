"""The parts of an experiment file, each with what it can tell of itself alone."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from gridcast.runtime.errors import ConfigError

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Columns = tuple[str, ...]


class Section(BaseModel):
    """A part of the experiment file: no unknown keys, no change once read, no silent conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, serialize_by_alias=True)

    @model_validator(mode="before")
    @classmethod
    def _former_words(cls, content: object) -> object:
        """Accept the former word for a key, which is also the one that run keys and MLflow have: its alias."""
        if not isinstance(content, dict):
            return content
        for name, field in cls.model_fields.items():
            former = field.serialization_alias
            if former is not None and former in content:
                if name in content:
                    raise ValueError(f"{name} and {former} are two words for one key; write {name} only")
                content = {name if key == former else key: value for key, value in content.items()}
        return content


class Select(Section):
    """Which part of the data is used; `top` ranks series by their total over the training span."""

    top: Annotated[int, Field(ge=1)] | None = None
    only: Annotated[Columns | None, Field(strict=False)] = None
    start: str | None = None
    end: str | None = None


class Data(Section):
    """Where the series come from and what their columns mean.

    `static_source` is a CSV file that brings the `static` columns, a row for each value of the
    `series` columns, where the table itself does not.
    `sensors` are the columns that task: anomaly watches, each a series; left empty, all that hold numbers.
    `labels` is a column in which 1 says that a step is anomalous, or a JSON file of such stretches, see `data.marked`;
    the test alone looks at them, or training too, to `omit` labelled steps in place of taking them for normal. Gaps
    that are to `keep` stay gaps.
    Of rows that are `repeated`, which have the series and the time of another one, the first or the last may count.
    `aggregate` combines rows finer than `frequency` into one per series and period: the target by
    that rule, covariates by their mean. `exhibition` looks for stretches without exhibition, runs of
    zeros far longer than the habit of a series, and either leaves them out of training and
    validation (`mask`) or tells the network of them (`feature`).
    """

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
    frequency: str = "D"
    period: Annotated[int, Field(ge=2)] | None = None
    calendar: Literal["observed", "regular"] = "observed"
    gaps: Literal["error", "zero", "ffill", "interpolate", "keep"] = "error"
    repeated: Literal["error", "first", "last"] = "error"
    aggregate: Literal["none", "sum", "mean", "last"] = "none"
    zero_runs: Annotated[Literal["none", "mask", "feature"], Field(serialization_alias="exhibition")] = "none"
    dates: Literal["auto", "iso", "day-first", "month-first"] = "auto"
    constant: Literal["keep", "drop"] = "keep"
    select: Select = Select()

    @model_validator(mode="after")
    def _static_of_series(self) -> Data:
        if self.static_source is not None and not (self.static and self.series):
            raise ValueError(
                f"data.static_source: '{self.static_source}' brings static columns by series; "
                f"name them in data.{'series' if self.static else 'static'}, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _labelled_by_labels(self) -> Data:
        if self.labelled == "omit" and self.labels is None:
            raise ValueError("data.labelled: omit needs data.labels, which say which steps; name them, or leave it out")
        return self

    @field_validator("series", mode="before")
    @classmethod
    def _one_column(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class Window(Section):
    """`lookback` steps in, `horizon` steps out, origins `stride` steps apart."""

    lookback: Annotated[int, Field(ge=1)]
    horizon: Annotated[int, Field(ge=1)] = 1
    stride: Annotated[int, Field(ge=1)] = 1


Share = Annotated[float, Field(gt=0, lt=1)]
Level = Annotated[float, Field(gt=0, lt=1)]


class Split(Section):
    """Chronological shares of the time axis; or, where `folds` are given, that many rolling origins.

    Each fold validates on `horizon` steps (default: those of the window), the next one on the steps
    after, and the last steps of all are the test span. `expanding` folds train on all steps before,
    others on as many as the first one has.
    """

    train: Share = 0.8
    validation: Share = 0.1
    test: Share = 0.1
    folds: Annotated[int, Field(ge=1)] | None = None
    horizon: Annotated[int, Field(ge=1)] | None = None
    expanding: bool = True

    @model_validator(mode="after")
    def _one_form(self) -> Split:
        shares, rolling = ({"train", "validation", "test"}, {"horizon", "expanding"})
        if self.folds is None and self.model_fields_set & rolling:
            raise ValueError("horizon and expanding belong to folds; write {folds: 4, horizon: 6}, or shares alone")
        if self.folds is not None and self.model_fields_set & shares:
            raise ValueError("takes shares (train, validation, test) or folds, not both; leave one of them out")
        return self

    @model_validator(mode="after")
    def _whole(self) -> Split:
        total = self.train + self.validation + self.test
        if not math.isclose(total, 1.0, abs_tol=1e-9):
            raise ValueError(f"train + validation + test must be 1, they are {total:g}")
        return self


class Transform(Section):
    """How the target is brought to a range that networks like; fitted on the training span."""

    log1p: bool = False
    scale: Literal["minmax", "standard", "mean-abs", "none"] = "minmax"


class Configuration(Section):
    """The settings of one network: each of them can be an axis of the grid.

    `likelihood` is that of a probabilistic task alone: a distribution of each step, whose samples
    are its forecast, or `quantile`, all levels of all steps at once. `scaling` tells how windows are
    read: by a probabilistic network as `standard`, around their mean in units of their spread, or
    `mean`, in units of their level, which is all that counts know; by a detector as `none`, as they
    come, `centred`, around their mean, so that a level it has not seen is no anomaly, but a
    change of level is, or `standard`, in units of their spread too, so that neither is a restlessness it has not seen.
    `detector` and `latent` are those of task: anomaly: whether it rebuilds a window, predicts the step after
    it, or both, scored by its errors, or (`encoding`) does both, scored by what its encoder leaves of a window
    first; and how many numbers that is.
    """

    layer: Literal["GRU", "LSTM"] = "LSTM"
    bidirectional: bool = False
    attention: bool = False
    layers: Annotated[int, Field(ge=1, le=8)] = 1
    units: Annotated[int, Field(ge=1, le=4096)] = 64
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.001
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32
    lookback: Annotated[int, Field(ge=1)]
    optimizer: Literal["adam", "rmsprop"] = "adam"
    loss: Literal["mse", "mae", "huber"] = "mse"
    likelihood: Literal["student-t", "gaussian", "negative-binomial", "quantile"] | None = None
    scaling: Literal["standard", "mean", "none", "centred"] | None = None
    detector: Literal["reconstruction", "prediction", "both", "encoding"] | None = None
    latent: Annotated[int, Field(ge=1, le=4096)] | None = None

    @property
    def centred(self) -> bool:
        """Whether windows are read around their means: not by a point forecast, nor where zero means something."""
        if self.detector is not None:
            return self.scaling in ("centred", "standard")
        return self.likelihood not in (None, "negative-binomial") and self.scaling != "mean"

    def settings(self) -> dict[str, Any]:
        """Every setting that there is, by name."""
        return self.model_dump(exclude_none=True)


AXES = tuple(Configuration.model_fields)
SENSOR_DEFAULTS: dict[str, Any] = {
    "series": ["sensor"],
    "target": "value",
    "sensors": [],
    "calendar": "regular",
    "gaps": "keep",
}
"""How a table with a column for each sensor is read, unless the experiment file says otherwise."""


class Probabilistic(Section):
    """What a probabilistic forecast tells: these `quantiles`, from so many sample `paths`.

    With `conformal` they are widened or narrowed until they cover what they should on the
    validation span.
    """

    quantiles: Annotated[tuple[Level, ...], Field(strict=False, min_length=1)] = (0.1, 0.5, 0.9)
    paths: Annotated[int, Field(ge=2, le=10000)] = 200
    conformal: bool = True

    @field_validator("quantiles")
    @classmethod
    def _in_order(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError(f"levels must grow, each given once (got {list(value)})")
        return value


class Anomaly(Section):
    """From which score on a step is anomalous: above the `threshold` of that name, see `anomaly.thresholds`.

    Its `level` counts deviations or is the share of false alarms. An event has `least` anomalous steps; those
    with at most `gap` steps between them are one.
    """

    threshold: str = "mean-std"
    level: float | None = None
    min_steps: Annotated[int, Field(ge=1, serialization_alias="least")] = 1
    merge_gap: Annotated[int, Field(ge=0, serialization_alias="gap")] = 0

    @model_validator(mode="after")
    def _known(self) -> Anomaly:
        if not self.model_fields_set & {"threshold", "level"}:  # NumPy is not imported for what is known to be right
            return self
        from gridcast.config.threshold_rules import checked_level

        try:
            checked_level(self.threshold, self.level)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self


class Training(Section):
    """How long and how often each configuration is trained.

    With `decay: cosine` the learning rate falls from its value to nothing over all `epochs`, epoch by epoch.
    `steps` bounds the batches of an epoch: each is then a fresh random part of the windows.
    `max_minutes` is the training time that one run may take, `retries` how often it is tried again
    where that can help, `checkpoint_seconds` how often its state is saved (0: after every epoch).
    `engine` is how runs train: `fused`, siblings abreast in one compiled program, or `stock` Keras,
    one by one; `auto` is fused where the backend can (JAX).
    """

    epochs: Annotated[int, Field(ge=1)] = 50
    steps: Annotated[int, Field(ge=1)] | None = None
    patience: Annotated[int, Field(ge=1)] = 10
    decay: Literal["none", "cosine"] = "none"
    loss: Literal["mse", "mae", "huber"] = "mse"
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**32)], ...], Field(strict=False, min_length=1)] = (0,)
    engine: Literal["auto", "stock", "fused"] = "auto"
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 30.0


class Budget(Section):
    """What a search may spend in all: so many `runs`, or so many `minutes` of each start."""

    runs: Annotated[int, Field(ge=1)] | None = None
    minutes: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Budget:
        if (self.runs is None) == (self.minutes is None):
            raise ValueError("write one of runs and minutes, such as {runs: 50}")
        return self


class Search(Section):
    """Which part of the declared grid is trained.

    `grid` all of it; `random` and `tpe` (Optuna's sampler) as many runs of it as the `budget` allows;
    `halving` starts all, and at each of its rungs, `reduction` times as far as the last, goes on with
    the best 1 / `reduction` alone; the last of so many `rungs` is the end. What stands here was chosen
    by replaying the curves of the retail grid with five seeds: within 0.3 % of the best, a quarter of the time.
    """

    strategy: Literal["grid", "random", "halving", "tpe"] = "grid"
    budget: Budget | None = None
    reduction: Annotated[int, Field(ge=2, le=10)] = 4
    rungs: Annotated[int, Field(ge=2, le=10)] = 3
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _spends(self) -> Search:
        if self.strategy in ("random", "tpe") and self.budget is None:
            raise ValueError(f"{self.strategy} needs a budget, such as {{runs: 50}} or {{minutes: 10}}")
        if self.strategy in ("grid", "halving") and self.budget is not None:
            raise ValueError(f"{self.strategy} takes no budget; leave it out, or use random or tpe")
        return self


class Ensemble(Section):
    """One forecaster of the `top` runs: the mean of their forecasts, the median, or the mean weighted by 1 / error.

    The error is that on the validation span: the weighted quantile loss where quantiles are forecast, else the MAE.
    Of detectors it is the geometric mean of their scores, each in units of its threshold, or the `minimum`: a step is
    anomalous where all of them say so, by thresholds of their own.
    """

    top: Annotated[int, Field(ge=2, le=50)] = 5
    combine: Literal["mean", "median", "weighted", "minimum"] = "mean"


class Selection(Section):
    """How the winner is chosen, and when it may become champion; an `ensemble` wins in place of the best run.

    Detectors also compare by what the AUC-PR lacks of 1 over validation steps that faults were put into
    (`val_faults_missed`), and by the false alarms there at their threshold (`val_false_alarms_per_day`).
    """

    metric: Literal[
        "best_val_loss", "best_val_mae", "best_val_wql", "val_faults_missed", "val_false_alarms_per_day"
    ] = "best_val_loss"
    promote_to: Name | None = None
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.0
    when_beaten: Literal["refuse", "warn"] = "refuse"
    ensemble: Ensemble | None = None
