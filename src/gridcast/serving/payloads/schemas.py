"""What goes in and out over HTTP: the contract, typed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]
Level = Annotated[float, Field(gt=0, lt=1)]
Whole = BeforeValidator(lambda given: int(given) if isinstance(given, float) and given.is_integer() else given)
"""JSON knows one kind of number: 7.0 is a whole one."""
Horizon = Annotated[int, Field(ge=1, le=10**6), Whole]
Time = Annotated[str, Field(min_length=1, max_length=40, examples=["2011-12-31"])]


class Asked(BaseModel):
    """Part of a request: no unknown fields, no silent conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Observed(Asked):
    """A step of history; past and future covariates stand beside its value, under their own names."""

    model_config = ConfigDict(extra="allow")
    time: Time
    value: Finite


class Ahead(Asked):
    """A step to come, with what is known of it: every future covariate that is a column."""

    model_config = ConfigDict(extra="allow")
    time: Time


class Series(Asked):
    """A series: its history, oldest step first, and the steps after it that bring future covariates."""

    id: Annotated[str | None, Field(max_length=1000)] = None
    history: Annotated[list[Observed], Field(min_length=1)]
    future: list[Ahead] = Field(default_factory=list)  # no copy of a default for each


class Question(Asked):
    """What is to be forecast; a `horizon` beyond the trained one is rolled forward."""

    model: Annotated[str, Field(max_length=1000)]
    horizon: Horizon | None = None
    quantiles: Annotated[list[Level], Field(min_length=1)] | None = None
    series: Annotated[list[Series], Field(min_length=1)]


class Row(Asked):
    """A step: the value of each sensor stands under its name, null where it was not seen."""

    model_config = ConfigDict(extra="allow")
    time: Time


class Rows(Asked):
    """What a detector is to look at, oldest step first; with `values` the answer has the sensors beside the scores."""

    model: Annotated[str, Field(max_length=1000)]
    rows: Annotated[list[Row], Field(min_length=1)]
    values: bool = False


class NewKey(Asked):
    """A key to be made."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    expires_in_days: Annotated[int, Field(ge=1, le=3650), Whole] = 90
    scopes: Annotated[list[Literal["predict", "admin"]], Field(min_length=1)] = ["predict"]


class Told(BaseModel):
    """What every answer says of the model that gave it."""

    model: str
    version: str
    run_id: str | None
    elapsed_ms: float
    beaten_by_baseline: bool
    beaten_by: Annotated[str | None, Field(description="the best baseline, where it beats the model")] = None


class Past(BaseModel):
    """A step of the history as it was read."""

    time: str
    value: float


class Point(BaseModel):
    """A step ahead, in data units; `rolled_forward` beyond the trained horizon."""

    time: str
    value: float
    quantiles: dict[str, float] | None = None
    rolled_forward: bool


class Forecast(BaseModel):
    """The forecast of one series; `answered_by` where series have models of their own."""

    id: str
    points: list[Point]
    answered_by: str | None = None
    history: list[Past] | None = None


class Answer(Told):
    """The forecasts of all series asked for, in their order."""

    forecasts: list[Forecast]


class Score(BaseModel):
    """A step, and whether its score lies above the threshold; null where too little was seen around it.

    The `threshold` stands with each step where it is another at each.
    """

    time: str
    score: float | None
    anomaly: bool
    threshold: float | None = None
    values: dict[str, float | None] | None = None


class Blame(BaseModel):
    """A sensor, and its share, 0 to 1, of the score over an event."""

    sensor: str
    share: float


class Event(BaseModel):
    """An anomalous stretch, `start` and `end` its first and last step; `severity` is its peak in thresholds."""

    start: str
    end: str
    steps: int
    peak: float
    severity: float | None
    blame: Annotated[list[Blame], Field(description="the most to blame first")]


class Scores(Told):
    """What a detector says of each step, and the events that follow."""

    threshold: float
    scores: list[Score]
    events: list[Event]


class Model(BaseModel):
    """A model that is served, and what it reads; the `series` of a detector are its sensors."""

    model: str
    task: Literal["forecast", "probabilistic", "anomaly"]
    version: str
    run_id: str | None
    beaten_by_baseline: bool
    beaten_by: str | None = None
    loaded_at: str
    problem: Annotated[str | None, Field(description="why a newer version is not served")] = None
    frequency: str
    lookback: int
    horizon: int | None
    quantiles: list[float] | None = None
    threshold: float | None = None
    time: str
    target: str | None
    keys: list[str]
    past: list[str]
    future: list[str]
    series: list[str]
    examples: Annotated[list[str], Field(description="series of which an example is kept")]


class Models(BaseModel):
    """All models that are served."""

    models: list[Model]


class Version(BaseModel):
    """Which version of a model answers."""

    version: str
    run_id: str | None
    beaten_by_baseline: bool


class Health(BaseModel):
    """`degraded`: an older version is served than the alias wants, or the registry cannot be asked."""

    status: Literal["ok", "degraded"]
    models: dict[str, Version]
    degraded: list[str]
    uptime_seconds: float


class Created(BaseModel):
    """A new key, shown this once."""

    id: str
    api_key: str
    expires_at: str


class Kept(BaseModel):
    """What is known of a key."""

    id: str
    name: str
    scopes: list[str]
    created_at: str
    expires_at: str
    revoked_at: str | None = None


class KeyList(BaseModel):
    """Every key there was, the newest first."""

    keys: list[Kept]


class Problem(BaseModel):
    """Why there is no answer."""

    code: str
    message: str
    where: str | None = None


class Error(BaseModel):
    """What is answered in place of anything else."""

    error: Problem


def fields() -> set[str]:
    """The names of all fields that a request may have."""
    return {name for kind in (Observed, Ahead, Series, Question, Row, Rows, NewKey) for name in kind.model_fields}


def extras(step: Observed | Ahead | Row) -> dict[str, Any]:
    """The covariates or sensors of a step, not checked yet."""
    return step.__pydantic_extra__ or {}
