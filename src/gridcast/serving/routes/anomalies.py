"""Anomaly scores, asked as JSON or as a CSV file."""

from __future__ import annotations

import functools
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Query, Request, UploadFile
from fastapi.responses import Response

from gridcast.data import prediction_files
from gridcast.serving.http import KEY, as_csv, as_json, context_of, now, read_table, refusing, service_of, wants_json
from gridcast.serving.payloads import request_parsing, request_types, response_building, schemas

router = APIRouter()


@router.post(
    "/anomalies",
    response_model=schemas.Scores,
    responses=refusing(403, 404, 413),
    dependencies=KEY,
    tags=["anomalies"],
)
async def anomalies(asked: schemas.Rows, request: Request) -> Response:
    """Score steps of sensor values, given in the request; for models that are detectors."""
    service, visit = service_of(request), context_of(request)
    served = service.models.get(asked.model)
    readings = request_parsing.rows(asked, served, service.settings.limits, now())
    visit.model, visit.rows = served.name, len(asked.rows)
    found = await served.together.ask(readings.scaled)
    service.counters.scored(served.name, len(found))
    told = response_building.anomalies(readings, found, served, values=asked.values)
    return as_json(response_building.told(served, visit.milliseconds) | told)


@router.post(
    "/anomalies_csv",
    response_model=schemas.Scores,
    responses={200: {"content": {"text/csv": {}}}, **refusing(403, 404, 413)},
    dependencies=KEY,
    tags=["anomalies"],
)
async def anomalies_csv(
    request: Request,
    file: UploadFile,
    model: Annotated[str, Query(max_length=1000)],
    values: Annotated[bool, Query(description="send the sensors back, in JSON")] = False,
) -> Response:
    """Score the steps of a CSV file with the experiment's own column names; CSV out, or JSON where asked for."""
    service, visit = service_of(request), context_of(request)
    served = service.models.get(model)
    reader = functools.partial(prediction_files.sensors, own=served.detector.preprocessing)
    visit.model, content = served.name, await file.read()

    def work() -> request_types.Readings:
        table = read_table(content, reader, served)
        visit.rows = len(table)
        request_parsing.table("file", table, served, service.settings.limits, now())
        return request_parsing.readings(table, served, "file")

    readings = await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
    found = await served.together.ask(readings.scaled)
    service.counters.scored(served.name, len(found))
    told = response_building.told(served, visit.milliseconds)
    if wants_json(request):
        return as_json(told | response_building.anomalies(readings, found, served, values=values))
    return as_csv(response_building.scored(readings, found, served), told)
