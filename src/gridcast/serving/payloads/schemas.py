"""Bodies of requests and responses: the HTTP contract."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

FiniteNumber = Annotated[float, Field(allow_inf_nan=False)]
Level = Annotated[float, Field(gt=0, lt=1)]
WHOLE_NUMBER = BeforeValidator(lambda value: int(value) if isinstance(value, float) and value.is_integer() else value)
"""Accepts 7.0 for an integer: JSON has one type of number."""
Horizon = Annotated[int, Field(ge=1, le=10**6), WHOLE_NUMBER]
TimeStamp = Annotated[str, Field(min_length=1, max_length=40, examples=["2011-12-31"])]


class RequestModel(BaseModel):
    """Part of a request: no unknown fields, no silent conversion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class HistoryStep(RequestModel):
    """A step of history, with its past and future covariates under their own names."""

    model_config = ConfigDict(extra="allow")
    time: TimeStamp
    value: FiniteNumber


class FutureStep(RequestModel):
    """A step to forecast, with every future covariate that is a column."""

    model_config = ConfigDict(extra="allow")
    time: TimeStamp


class SeriesInput(RequestModel):
    """A series: its history, oldest step first, and future steps if the model reads future columns."""

    id: Annotated[str | None, Field(max_length=1000)] = None
    history: Annotated[list[HistoryStep], Field(min_length=1, fail_fast=True)]
    future: list[FutureStep] = Field(default_factory=list, fail_fast=True)


class PredictRequest(RequestModel):
    """Series to forecast; a `horizon` beyond the trained one is rolled forward."""

    model: Annotated[str, Field(max_length=1000)]
    horizon: Horizon | None = None
    quantiles: Annotated[list[Level], Field(min_length=1, fail_fast=True)] | None = None
    series: Annotated[list[SeriesInput], Field(min_length=1, fail_fast=True)]


class SensorRow(RequestModel):
    """A step: the value of each sensor under its name, null where it is missing."""

    model_config = ConfigDict(extra="allow")
    time: TimeStamp


class AnomalyRequest(RequestModel):
    """Steps to score, oldest first; with `values` the response has the sensor values beside the scores."""

    model: Annotated[str, Field(max_length=1000)]
    rows: Annotated[list[SensorRow], Field(min_length=1, fail_fast=True)]
    values: bool = False


class NewApiKey(RequestModel):
    """An API key to create."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    expires_in_days: Annotated[int, Field(ge=1, le=3650), WHOLE_NUMBER] = 90
    scopes: Annotated[list[Literal["predict", "admin"]], Field(min_length=1, fail_fast=True)] = ["predict"]


class ModelResponse(BaseModel):
    """The fields of every response of a model that describe the model."""

    model: str
    version: str
    run_id: str | None
    elapsed_ms: float
    beaten_by_baseline: bool
    beaten_by: Annotated[str | None, Field(description="the best baseline, if it beats the model")] = None


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
    """The forecast of one series; `answered_by` names the model, if each series has its own."""

    id: str
    points: list[ForecastPoint]
    answered_by: str | None = None
    history: list[HistoryPoint] | None = None


class PredictResponse(ModelResponse):
    """The forecasts of all series of the request, in their order."""

    forecasts: list[SeriesForecast]


class StepScore(BaseModel):
    """The score of a step, and whether it exceeds the threshold; null where too few values are known.

    Each step has a `threshold` if it is a running one.
    """

    time: str
    score: float | None
    anomaly: bool
    threshold: float | None = None
    values: dict[str, float | None] | None = None


class SensorShare(BaseModel):
    """The share of a sensor, 0 to 1, in the score of an event."""

    sensor: str
    share: float


class AnomalyEvent(BaseModel):
    """An event from its first step `start` to its last step `end`; `severity` is its peak in units of the threshold."""

    start: str
    end: str
    steps: int
    peak: float
    severity: float | None
    blame: Annotated[list[SensorShare], Field(description="the largest share first")]


class AnomalyResponse(ModelResponse):
    """The score of each step, and the events."""

    threshold: float
    scores: list[StepScore]
    events: list[AnomalyEvent]


class ModelDescription(BaseModel):
    """A served model and its inputs; the `series` of a detector are its sensors."""

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
    examples: Annotated[list[str], Field(description="series with an example")]


class ModelList(BaseModel):
    """All served models."""

    models: list[ModelDescription]


class ServedVersion(BaseModel):
    """The version of a model that answers."""

    version: str
    run_id: str | None
    beaten_by_baseline: bool


class Health(BaseModel):
    """State of the service; `degraded`: a newer version cannot be loaded, or the registry does not respond."""

    status: Literal["ok", "degraded"]
    models: dict[str, ServedVersion]
    degraded: list[str]
    uptime_seconds: float


class ProbeAnswer(BaseModel):
    """The answer to a program that watches the service."""

    status: Literal["ok"]


class CreatedApiKey(BaseModel):
    """A new key; this is the only response that contains it."""

    id: str
    api_key: str
    expires_at: str


class ApiKeyInfo(BaseModel):
    """A key without its secret."""

    id: str
    name: str
    scopes: list[str]
    created_at: str
    expires_at: str
    revoked_at: str | None = None


class ApiKeyList(BaseModel):
    """All keys, including revoked and expired ones, the newest first."""

    keys: list[ApiKeyInfo]


class ErrorDetail(BaseModel):
    """A code for programs, a message for people, and the place in the request."""

    code: str
    message: str
    where: str | None = None


class ErrorResponse(BaseModel):
    """The body of every error response."""

    error: ErrorDetail


def request_field_names() -> set[str]:
    """Return the names of all fields that a request may have."""
    models = (HistoryStep, FutureStep, SeriesInput, PredictRequest, SensorRow, AnomalyRequest, NewApiKey)
    return {name for model in models for name in model.model_fields}


def extra_fields(step: HistoryStep | FutureStep | SensorRow) -> dict[str, Any]:
    """Return the covariates or sensor values of a step, which are not checked yet."""
    return step.__pydantic_extra__ or {}
