"""Forecasts of JSON requests and CSV files."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
from fastapi import APIRouter, Query, Request, UploadFile
from fastapi.responses import Response

from gridcast.data import prediction_files
from gridcast.runtime.errors import DataError, NotFinite
from gridcast.serving import http_errors, request_costs
from gridcast.serving.http import REQUIRES_KEY, JsonResponse, context_of, error_responses, state_of, utc_now
from gridcast.serving.http_errors import invalid_input
from gridcast.serving.models.served_model import ServedModel
from gridcast.serving.models.shadow import ServedPrediction
from gridcast.serving.payloads import request_parsing, response_building, schemas
from gridcast.serving.payloads.request_frames import history_frame
from gridcast.serving.routes.csv_files import CsvFile, json_or_csv, table_cost
from gridcast.serving.routes.work import charge, in_turn

LEVELS_PATTERN = r"^\s*0?\.\d{1,9}(\s*,\s*0?\.\d{1,9})*\s*$"
router = APIRouter()


@router.post(
    "/predict",
    response_model=schemas.PredictResponse,
    responses=error_responses(403, 404, 413),
    dependencies=REQUIRES_KEY,
    tags=["forecasts"],
)
async def predict(body: schemas.PredictRequest, request: Request) -> Response:
    """Forecast the series in the request from their history."""
    state, context = state_of(request), context_of(request)
    served = state.models.get(body.model)
    rows = request_parsing.row_count(body)
    parsed = await in_turn(
        request,
        rows * request_costs.ROW,
        lambda: request_parsing.parse_forecast(body, served, limits=state.settings.limits, now=utc_now()),
    )
    context.model, context.rows = served.name, rows
    series = len(parsed.forecast_input.ids)
    cost = request_costs.forecast_cost(
        served.forecaster, series=series, horizon=parsed.horizon, levels=len(parsed.levels)
    )
    charge(request, cost, "series")

    def answer(forecasts: np.ndarray) -> bytes:
        return response_building.forecast_body(
            served, context, response_building.forecast_items(parsed, forecasts, served)
        )

    try:
        if cost > request_costs.MAX_SMALL:
            forecasts = await in_turn(request, cost, lambda: served.batcher.run_alone(parsed))
        else:
            forecasts = await served.batcher.submit(parsed, context.client, cost=cost)
    except DataError as error:
        raise request_parsing.from_data_error(error, served, "series", ids=parsed.forecast_input.ids) from None
    content = await in_turn(request, request_costs.answer_cost(forecasts.size), lambda: answer(forecasts))
    context.series = series
    prediction = ServedPrediction(
        request=context.id,
        served=served,
        history=lambda: history_frame(body, served.preprocessing),
        forecasts=lambda: response_building.forecast_frame(parsed, forecasts, served),
        horizon=parsed.horizon,
        levels=parsed.levels,
    )
    state.shadow.submit(prediction)
    return JsonResponse(content, 200)


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
    quantiles: Annotated[str | None, Query(pattern=LEVELS_PATTERN, max_length=1000, examples=["0.1,0.9"])] = None,
    history: Annotated[int, Query(ge=0, le=10_000, description="steps of history to return, in JSON")] = 0,
) -> Response:
    """Forecast the series of a CSV file with the experiment's own column names; CSV, or JSON on request."""
    state, context = state_of(request), context_of(request)
    served = state.models.get(model)
    steps, levels = request_parsing.horizon_and_levels(
        served, horizon=horizon, quantiles=_parse_levels(quantiles), limits=state.settings.limits
    )
    table = await CsvFile(file, served, prediction_files.read_series_table).read_table(request)
    series = request_parsing.series_count(table, served.preprocessing)
    values = series * steps * (1 + len(levels))
    request_costs.check_values(values, state.settings.limits, "file")
    cost = request_costs.forecast_cost(served.forecaster, series=series, horizon=steps, levels=len(levels))
    charge(request, cost, "file")
    forecasts = await in_turn(
        request, table_cost(cost), lambda: _forecast_table(table, served, horizon=steps, levels=levels)
    )
    context.series = series
    prediction = ServedPrediction(
        request=context.id,
        served=served,
        history=lambda: table,
        forecasts=lambda: forecasts,
        horizon=steps,
        levels=levels,
    )
    state.shadow.submit(prediction)
    return await json_or_csv(
        request,
        served,
        cost=table_cost(request_costs.answer_cost(values)),
        json_body=lambda: response_building.forecast_body(
            served,
            context,
            response_building.items_from_frame(forecasts, table, served, levels=levels, history_steps=history),
        ),
        table=lambda: forecasts,
    )


def _parse_levels(text: str | None) -> list[float] | None:
    """The quantile levels in a query parameter. Raises HttpError (422)."""
    if text is None:
        return None
    levels = [float(part) for part in text.split(",")]
    if not all(0 < level < 1 for level in levels):
        raise invalid_input("must be between 0 and 1", "quantiles")
    return levels


def _forecast_table(
    table: pd.DataFrame, served: ServedModel, *, horizon: int, levels: tuple[float, ...]
) -> pd.DataFrame:
    """The forecasts of a table. Raises HttpError (422)."""
    params = {"horizon": horizon} | ({} if served.levels is None else {"quantiles": levels})
    try:
        with np.errstate(all="ignore"):  # results that are not finite are refused
            return served.forecaster.predict(table, params)
    except NotFinite:
        raise response_building.not_finite_error("file") from None
    except DataError as error:
        raise http_errors.from_table_error(str(error), served.known_names, "file") from None
