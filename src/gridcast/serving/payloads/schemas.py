"""What goes in and out over HTTP: the contract, typed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

FiniteNumber = Annotated[float, Field(allow_inf_nan=False)]
Level = Annotated[float, Field(gt=0, lt=1)]
WHOLE_NUMBER = BeforeValidator(lambda given: int(given) if isinstance(given, float) and given.is_integer() else given)
"""JSON knows one kind of number: 7.0 is a whole one."""
Horizon = Annotated[int, Field(ge=1, le=10**6), WHOLE_NUMBER]
TimeStamp = Annotated[str, Field(min_length=1, max_length=40, examples=["2011-12-31"])]


class RequestModel(BaseModel):
    """Part of a request: no unknown fields, no silent conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class HistoryStep(RequestModel):
    """A step of history; past and future covariates stand beside its value, under their own names."""

    model_config = ConfigDict(extra="allow")
    time: TimeStamp
    value: FiniteNumber


class FutureStep(RequestModel):
    """A step to come, with what is known of it: every future covariate that is a column."""

    model_config = ConfigDict(extra="allow")
    time: TimeStamp


class SeriesInput(RequestModel):
    """A series: its history, oldest step first, and the steps after it that bring future covariates."""

    id: Annotated[str | None, Field(max_length=1000)] = None
    history: Annotated[list[HistoryStep], Field(min_length=1)]
    future: list[FutureStep] = Field(default_factory=list)  # no copy of a default for each


class PredictRequest(RequestModel):
    """What is to be forecast; a `horizon` beyond the trained one is rolled forward."""

    model: Annotated[str, Field(max_length=1000)]
    horizon: Horizon | None = None
    quantiles: Annotated[list[Level], Field(min_length=1)] | None = None
    series: Annotated[list[SeriesInput], Field(min_length=1)]


class SensorRow(RequestModel):
    """A step: the value of each sensor stands under its name, null where it was not seen."""

    model_config = ConfigDict(extra="allow")
    time: TimeStamp


class AnomalyRequest(RequestModel):
    """What a detector is to look at, oldest step first; with `values` the answer has the sensors beside the scores."""

    model: Annotated[str, Field(max_length=1000)]
    rows: Annotated[list[SensorRow], Field(min_length=1)]
    values: bool = False


class NewApiKey(RequestModel):
    """A key to be made."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    expires_in_days: Annotated[int, Field(ge=1, le=3650), WHOLE_NUMBER] = 90
    scopes: Annotated[list[Literal["predict", "admin"]], Field(min_length=1)] = ["predict"]


class ModelResponse(BaseModel):
    """What every answer says of the model that gave it."""

    model: str
    version: str
    run_id: str | None
    elapsed_ms: float
    beaten_by_baseline: bool
    beaten_by: Annotated[str | None, Field(description="the best baseline, where it beats the model")] = None


class HistoryPoint(BaseModel):
    """A step of the history as it was read."""

    time: str
    value: float


class ForecastPoint(BaseModel):
    """A step ahead, in data units; `rolled_forward` beyond the trained horizon."""

    time: str
    value: float
    quantiles: dict[str, float] | None = None
    rolled_forward: bool


class SeriesForecast(BaseModel):
    """The forecast of one series; `answered_by` where series have models of their own."""

    id: str
    points: list[ForecastPoint]
    answered_by: str | None = None
    history: list[HistoryPoint] | None = None


class PredictResponse(ModelResponse):
    """The forecasts of all series asked for, in their order."""

    forecasts: list[SeriesForecast]


class StepScore(BaseModel):
    """A step, and whether its score lies above the threshold; null where too little was seen around it.

    The `threshold` stands with each step where it is another at each.
    """

    time: str
    score: float | None
    anomaly: bool
    threshold: float | None = None
    values: dict[str, float | None] | None = None


class SensorShare(BaseModel):
    """A sensor, and its share, 0 to 1, of the score over an event."""

    sensor: str
    share: float


class AnomalyEvent(BaseModel):
    """An anomalous stretch, `start` and `end` its first and last step; `severity` is its peak in thresholds."""

    start: str
    end: str
    steps: int
    peak: float
    severity: float | None
    blame: Annotated[list[SensorShare], Field(description="the most to blame first")]


class AnomalyResponse(ModelResponse):
    """What a detector says of each step, and the events that follow."""

    threshold: float
    scores: list[StepScore]
    events: list[AnomalyEvent]


class ModelDescription(BaseModel):
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


class ModelList(BaseModel):
    """All models that are served."""

    models: list[ModelDescription]


class ServedVersion(BaseModel):
    """Which version of a model answers."""

    version: str
    run_id: str | None
    beaten_by_baseline: bool


class Health(BaseModel):
    """`degraded`: an older version is served than the alias wants, or the registry cannot be asked."""

    status: Literal["ok", "degraded"]
    models: dict[str, ServedVersion]
    degraded: list[str]
    uptime_seconds: float


class CreatedApiKey(BaseModel):
    """A new key, shown this once."""

    id: str
    api_key: str
    expires_at: str


class ApiKeyInfo(BaseModel):
    """What is known of a key."""

    id: str
    name: str
    scopes: list[str]
    created_at: str
    expires_at: str
    revoked_at: str | None = None


class ApiKeyList(BaseModel):
    """Every key there was, the newest first."""

    keys: list[ApiKeyInfo]


class ErrorDetail(BaseModel):
    """Why there is no answer."""

    code: str
    message: str
    where: str | None = None


class ErrorResponse(BaseModel):
    """What is answered in place of anything else."""

    error: ErrorDetail


def request_field_names() -> set[str]:
    """The names of all fields that a request may have."""
    return {
        name
        for kind in (HistoryStep, FutureStep, SeriesInput, PredictRequest, SensorRow, AnomalyRequest, NewApiKey)
        for name in kind.model_fields
    }


def extra_fields(step: HistoryStep | FutureStep | SensorRow) -> dict[str, Any]:
    """The covariates or sensors of a step, not checked yet."""
    return step.__pydantic_extra__ or {}
