"""Anomaly scores of JSON requests and CSV files."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request, UploadFile
from fastapi.responses import Response

from gridcast.data import prediction_files
from gridcast.serving import request_costs
from gridcast.serving.http import REQUIRES_KEY, JsonResponse, context_of, error_responses, state_of, utc_now
from gridcast.serving.models.served_model import ServedModel
from gridcast.serving.payloads import request_parsing, response_building, schemas
from gridcast.serving.payloads.request_types import DetectionRequest
from gridcast.serving.routes.csv_files import CsvFile, json_or_csv, table_cost
from gridcast.serving.routes.work import charge, in_turn

router = APIRouter()


@router.post(
    "/anomalies",
    response_model=schemas.AnomalyResponse,
    responses=error_responses(403, 404, 413),
    dependencies=REQUIRES_KEY,
    tags=["anomalies"],
)
async def anomalies(body: schemas.AnomalyRequest, request: Request) -> Response:
    """Score the steps in the request; the model must be a detector."""
    state, context = state_of(request), context_of(request)
    served = state.models.get(body.model)
    rows = len(body.rows)
    detection = await in_turn(
        request,
        rows * request_costs.ROW,
        lambda: request_parsing.parse_rows(body, served, limits=state.settings.limits, now=utc_now()),
    )
    context.model, context.rows = served.name, rows
    contributions = await _contributions(detection, served, request, where="rows")
    content = await in_turn(
        request,
        request_costs.answer_cost(detection.values.size),
        lambda: response_building.anomaly_body(detection, contributions, served, context, with_values=body.values),
    )
    return JsonResponse(content, 200)


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
    values: Annotated[bool, Query(description="return the sensor values too, in JSON")] = False,
) -> Response:
    """Score the steps of a CSV file with the experiment's own column names; the response is CSV, or JSON on request."""
    served, context = state_of(request).models.get(model), context_of(request)
    detector = served.detector
    table = await CsvFile(file, served, prediction_files.read_sensor_table).read_table(request)
    detection = await in_turn(
        request,
        table_cost(len(table) * request_costs.ROW),
        lambda: request_parsing.detection_request(table, served, "file"),
    )
    contributions = await _contributions(detection, served, request, where="file")
    return await json_or_csv(
        request,
        served,
        cost=table_cost(request_costs.answer_cost(detection.values.size)),
        json_body=lambda: response_building.anomaly_body(detection, contributions, served, context, with_values=values),
        table=lambda: response_building.score_frame(detection, contributions, detector),
    )


async def _contributions(
    detection: DetectionRequest, served: ServedModel, request: Request, *, where: str
) -> np.ndarray:
    """Contributions (steps, sensors) of the steps, which are counted and paid for."""
    cost = request_costs.detection_cost(served.detector, steps=len(detection.scaled))
    charge(request, cost, where)
    if cost > request_costs.MAX_SMALL:
        contributions = await in_turn(request, cost, lambda: served.batcher.run_alone(detection.scaled))
    else:
        contributions = await served.batcher.submit(detection.scaled, context_of(request).client, cost=cost)
    state_of(request).metrics.count_steps(served.name, len(contributions))
    return contributions
