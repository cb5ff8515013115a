"""Anomaly scores of JSON requests and CSV files."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request, UploadFile
from fastapi.responses import Response

from gridcast.data import prediction_files
from gridcast.serving.http import REQUIRES_KEY, context_of, error_responses, json_response, state_of, utc_now
from gridcast.serving.models.served_model import ServedModel
from gridcast.serving.payloads import request_parsing, response_building, schemas
from gridcast.serving.payloads.request_types import DetectionRequest
from gridcast.serving.routes.csv_files import CsvFile, json_or_csv

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
    detection = request_parsing.parse_rows(body, served, limits=state.settings.limits, now=utc_now())
    context.model, context.rows = served.name, len(body.rows)
    contributions = await _contributions(detection, served, request)
    fields = response_building.anomaly_fields(detection, contributions, served.detector, with_values=body.values)
    return json_response(response_building.model_fields(served, context.elapsed_ms) | fields)


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
    served = state_of(request).models.get(model)
    detector = served.detector
    detection = await CsvFile(file, served, prediction_files.read_sensor_table).process(
        request, lambda table: request_parsing.detection_request(table, served, "file")
    )
    contributions = await _contributions(detection, served, request)
    return json_or_csv(
        request,
        served,
        json_fields=lambda: response_building.anomaly_fields(detection, contributions, detector, with_values=values),
        table=lambda: response_building.score_frame(detection, contributions, detector),
    )


async def _contributions(detection: DetectionRequest, served: ServedModel, request: Request) -> np.ndarray:
    """Contributions (steps, sensors) of the steps, which are counted."""
    contributions = await served.batcher.submit(detection.scaled)
    state_of(request).metrics.count_steps(served.name, len(contributions))
    return contributions
