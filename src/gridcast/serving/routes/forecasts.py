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
from gridcast.serving.http import KEY, as_csv, as_json, context_of, now, read_table, refusing, service_of, wants_json
from gridcast.serving.http_errors import wrong
from gridcast.serving.models.served_model import ServedModel
from gridcast.serving.payloads import request_parsing, request_types, response_building, schemas
from gridcast.serving.request_context import RequestContext
from gridcast.serving.state import Service

LEVELS = r"^\s*0?\.\d{1,9}(\s*,\s*0?\.\d{1,9})*\s*$"
router = APIRouter()


@router.post(
    "/predict",
    response_model=schemas.Answer,
    responses=refusing(403, 404, 413),
    dependencies=KEY,
    tags=["forecasts"],
)
async def predict(question: schemas.Question, request: Request) -> Response:
    """Forecast series from their history, given in the request."""
    service, visit = service_of(request), context_of(request)
    served = service.models.get(question.model)
    short = service.aside.idle and (question.horizon or 1) <= service.settings.limits.horizon
    forecasts = served.plain.answer(question) if short and served.together.first() else None
    if forecasts is None:
        forecasts = await _forecasts(question, served, service, visit)
    else:
        visit.model, visit.rows = served.name, len(question.series[0].history)
    visit.series = len(forecasts)
    return as_json(response_building.told(served, visit.milliseconds) | {"forecasts": forecasts})


async def _forecasts(
    question: schemas.Question, served: ServedModel, service: Service, visit: RequestContext
) -> list[dict[str, Any]]:
    """What is told of any question. Raises Refusal (422)."""
    asked = request_parsing.read(question, served, service.settings.limits, now())
    visit.model, visit.rows = served.name, asked.rows
    try:
        found = await served.together.ask(asked)
    except DataError as error:
        raise request_parsing.refused(error, served, "series", asked.placed.ids) from None
    forecasts = response_building.forecasts(asked, found, served)
    served.plain.learn(question, asked)
    service.aside.answered(
        visit.id,
        served,
        lambda: request_parsing.frames(question, served),
        lambda: response_building.frame(asked, found, served),
        asked,
    )
    return forecasts


@router.post(
    "/predict_csv",
    response_model=schemas.Answer,
    responses={200: {"content": {"text/csv": {}}}, **refusing(403, 404, 413)},
    dependencies=KEY,
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
    service, visit = service_of(request), context_of(request)
    limits = service.settings.limits
    served = service.models.get(model)
    given = None if quantiles is None else [float(text) for text in quantiles.split(",")]
    if given is not None and not all(0 < level < 1 for level in given):
        raise wrong("must lie between 0 and 1", "quantiles")
    steps, levels = request_parsing.horizon_and_levels(served, horizon, given, limits)
    reader = functools.partial(prediction_files.read, own=served.own)
    visit.model, content = served.name, await file.read()

    def work() -> tuple[pd.DataFrame, pd.DataFrame]:
        table = read_table(content, reader, served)
        visit.rows = len(table)
        request_parsing.table("file", table, served, limits, now())
        return table, _forecast(served, table, steps, levels if served.levels is not None else None)

    table, found = await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
    visit.series = len(found) // steps
    service.aside.answered(visit.id, served, lambda: table, lambda: found, request_types.TableRequest(steps, levels))
    told = response_building.told(served, visit.milliseconds)
    if wants_json(request):
        return as_json(told | {"forecasts": response_building.of_frame(found, served, levels, table, history)})
    return as_csv(found, told)


def _forecast(served: ServedModel, table: pd.DataFrame, horizon: int, levels: tuple[float, ...] | None) -> pd.DataFrame:
    """The forecasts of a table. Raises Refusal (422)."""
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused
            asked = {"horizon": horizon} | ({} if levels is None else {"quantiles": levels})
            found = served.forecaster.predict(table, asked)
    except DataError as error:
        raise http_errors.of_table(str(error), served.names, "file") from None
    if not np.isfinite(found.select_dtypes("number").to_numpy(float)).all():
        raise response_building.not_finite("file")
    return found
