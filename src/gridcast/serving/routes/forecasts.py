"""Forecasts, asked as JSON or as a CSV file."""

from __future__ import annotations

import functools
from typing import Annotated, Any

import anyio.to_thread
import numpy as np
import pandas as pd
from fastapi import APIRouter, Query, Request, UploadFile
from fastapi.responses import Response

from gridcast.data import prediction_files
from gridcast.runtime.errors import DataError
from gridcast.serving import http_errors
from gridcast.serving.http import (
    REQUIRES_KEY,
    context_of,
    csv_response,
    error_responses,
    json_response,
    read_uploaded_table,
    state_of,
    utc_now,
    wants_json,
)
from gridcast.serving.http_errors import invalid_input
from gridcast.serving.models.served_model import ServedModel
from gridcast.serving.payloads import request_parsing, request_types, response_building, schemas
from gridcast.serving.request_context import RequestContext
from gridcast.serving.state import ServiceState

LEVELS = r"^\s*0?\.\d{1,9}(\s*,\s*0?\.\d{1,9})*\s*$"
router = APIRouter()


@router.post(
    "/predict",
    response_model=schemas.PredictResponse,
    responses=error_responses(403, 404, 413),
    dependencies=REQUIRES_KEY,
    tags=["forecasts"],
)
async def predict(question: schemas.PredictRequest, request: Request) -> Response:
    """Forecast series from their history, given in the request."""
    service, visit = state_of(request), context_of(request)
    served = service.models.get(question.model)
    short = service.aside.idle and (question.horizon or 1) <= service.settings.limits.horizon
    forecasts = served.plain.answer(question) if short and served.together.first() else None
    if forecasts is None:
        forecasts = await _forecasts(question, served, service, visit)
    else:
        visit.model, visit.rows = served.name, len(question.series[0].history)
    visit.series = len(forecasts)
    return json_response(response_building.model_fields(served, visit.milliseconds) | {"forecasts": forecasts})


async def _forecasts(
    question: schemas.PredictRequest, served: ServedModel, service: ServiceState, visit: RequestContext
) -> list[dict[str, Any]]:
    """What is told of any question. Raises Refusal (422)."""
    asked = request_parsing.parse_forecast(question, served, service.settings.limits, utc_now())
    visit.model, visit.rows = served.name, asked.rows
    try:
        found = await served.together.ask(asked)
    except DataError as error:
        raise request_parsing.from_data_error(error, served, "series", asked.placed.ids) from None
    forecasts = response_building.forecast_items(asked, found, served)
    served.plain.learn(question, asked)
    service.aside.answered(
        visit.id,
        served,
        lambda: request_parsing.history_frame(question, served),
        lambda: response_building.forecast_frame(asked, found, served),
        asked,
    )
    return forecasts


@router.post(
    "/predict_csv",
    response_model=schemas.PredictResponse,
    responses={200: {"content": {"text/csv": {}}}, **error_responses(403, 404, 413)},
    dependencies=REQUIRES_KEY,
    tags=["forecasts"],
)
async def predict_csv(
    request: Request,
    file: UploadFile,
    model: Annotated[str, Query(max_length=1000)],
    horizon: Annotated[int | None, Query(ge=1, le=10**6)] = None,
    quantiles: Annotated[str | None, Query(pattern=LEVELS, max_length=1000, examples=["0.1,0.9"])] = None,
    history: Annotated[int, Query(ge=0, le=10_000, description="steps of history to send back, in JSON")] = 0,
) -> Response:
    """Forecast the series of a CSV file with the experiment's own column names; CSV out, or JSON where asked for."""
    service, visit = state_of(request), context_of(request)
    limits = service.settings.limits
    served = service.models.get(model)
    given = None if quantiles is None else [float(text) for text in quantiles.split(",")]
    if given is not None and not all(0 < level < 1 for level in given):
        raise invalid_input("must lie between 0 and 1", "quantiles")
    steps, levels = request_parsing.horizon_and_levels(served, horizon, given, limits)
    reader = functools.partial(prediction_files.read, own=served.own)
    visit.model, content = served.name, await file.read()

    def work() -> tuple[pd.DataFrame, pd.DataFrame]:
        table = read_uploaded_table(content, reader, served)
        visit.rows = len(table)
        request_parsing.check_table("file", table, served, limits, utc_now())
        return table, _forecast(served, table, steps, levels if served.levels is not None else None)

    table, found = await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
    visit.series = len(found) // steps
    service.aside.answered(visit.id, served, lambda: table, lambda: found, request_types.TableRequest(steps, levels))
    told = response_building.model_fields(served, visit.milliseconds)
    if wants_json(request):
        return json_response(
            told | {"forecasts": response_building.items_from_frame(found, served, levels, table, history)}
        )
    return csv_response(found, told)


def _forecast(served: ServedModel, table: pd.DataFrame, horizon: int, levels: tuple[float, ...] | None) -> pd.DataFrame:
    """The forecasts of a table. Raises Refusal (422)."""
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused
            asked = {"horizon": horizon} | ({} if levels is None else {"quantiles": levels})
            found = served.forecaster.predict(table, asked)
    except DataError as error:
        raise http_errors.from_table_error(str(error), served.names, "file") from None
    if not np.isfinite(found.select_dtypes("number").to_numpy(float)).all():
        raise response_building.not_finite_error("file")
    return found
