"""Anomaly scores, asked as JSON or as a CSV file."""

from __future__ import annotations

import functools
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Query, Request, UploadFile
from fastapi.responses import Response

from gridcast.data import prediction_files
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
from gridcast.serving.payloads import request_parsing, request_types, response_building, schemas

router = APIRouter()


@router.post(
    "/anomalies",
    response_model=schemas.AnomalyResponse,
    responses=error_responses(403, 404, 413),
    dependencies=REQUIRES_KEY,
    tags=["anomalies"],
)
async def anomalies(asked: schemas.AnomalyRequest, request: Request) -> Response:
    """Score steps of sensor values, given in the request; for models that are detectors."""
    service, visit = state_of(request), context_of(request)
    served = service.models.get(asked.model)
    readings = request_parsing.parse_rows(asked, served, service.settings.limits, utc_now())
    visit.model, visit.rows = served.name, len(asked.rows)
    found = await served.together.ask(readings.scaled)
    service.counters.scored(served.name, len(found))
    told = response_building.anomaly_fields(readings, found, served, values=asked.values)
    return json_response(response_building.model_fields(served, visit.milliseconds) | told)


@router.post(
    "/anomalies_csv",
    response_model=schemas.AnomalyResponse,
    responses={200: {"content": {"text/csv": {}}}, **error_responses(403, 404, 413)},
    dependencies=REQUIRES_KEY,
    tags=["anomalies"],
)
async def anomalies_csv(
    request: Request,
    file: UploadFile,
    model: Annotated[str, Query(max_length=1000)],
    values: Annotated[bool, Query(description="send the sensors back, in JSON")] = False,
) -> Response:
    """Score the steps of a CSV file with the experiment's own column names; CSV out, or JSON where asked for."""
    service, visit = state_of(request), context_of(request)
    served = service.models.get(model)
    reader = functools.partial(prediction_files.sensors, own=served.detector.preprocessing)
    visit.model, content = served.name, await file.read()

    def work() -> request_types.DetectionRequest:
        table = read_uploaded_table(content, reader, served)
        visit.rows = len(table)
        request_parsing.check_table("file", table, served, service.settings.limits, utc_now())
        return request_parsing.detection_request(table, served, "file")

    readings = await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
    found = await served.together.ask(readings.scaled)
    service.counters.scored(served.name, len(found))
    told = response_building.model_fields(served, visit.milliseconds)
    if wants_json(request):
        return json_response(told | response_building.anomaly_fields(readings, found, served, values=values))
    return csv_response(response_building.score_frame(readings, found, served), told)
