"""CSV files: read from an upload, and sent as a response."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from fastapi import Request, UploadFile
from fastapi.responses import Response

from gridcast.runtime.errors import DataError
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.serving import http_errors, json_logging, request_costs
from gridcast.serving.http import JsonResponse, context_of, state_of, utc_now
from gridcast.serving.http_errors import invalid_input
from gridcast.serving.models.served_model import ServedModel
from gridcast.serving.payloads import request_parsing, response_building
from gridcast.serving.routes.work import charge, in_turn

LOG = logging.getLogger(json_logging.LOGGER_NAME)
CSV_BYTE = 0.0002
"""Milliseconds to read a byte of a CSV file."""
VALUES_AT_ONCE = 20_000
"""Values that are written to a CSV file at once."""


@dataclass(frozen=True)
class CsvFile:
    """An uploaded file for the model `served`; `read` is the reader of its experiment's tables."""

    file: UploadFile
    served: ServedModel
    read: Callable[[Path, Preprocessing], pd.DataFrame]

    async def read_table(self, request: Request) -> pd.DataFrame:
        """Return the table in the file, whose size and times are checked. Raises HttpError (422)."""
        context, limits = context_of(request), state_of(request).settings.limits
        context.model, content = self.served.name, await self.file.read()

        def read() -> pd.DataFrame:
            table = self._parse(content)
            context.rows = len(table)
            request_parsing.check_table(table, self.served, limits=limits, now=utc_now())
            return table

        cost = table_cost(len(content) * CSV_BYTE)
        charge(request, cost, "file")
        return await in_turn(request, cost, read)

    def _parse(self, content: bytes) -> pd.DataFrame:
        """The table in a CSV file of any dialect. Raises HttpError (422)."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "table.csv")
            path.write_bytes(content)
            try:
                return self.read(path, self.served.preprocessing)
            except DataError as error:
                text = str(error).removeprefix(str(path)).lstrip(", :")
                raise http_errors.from_table_error(text, self.served.known_names, "file") from None
            except Exception as error:  # noqa: BLE001 - a parser may raise anything for bytes that are no table
                LOG.info("unreadable", extra={"fields": json_logging.exception_fields(error)})
                text = "the file cannot be read as a table; give a CSV with a header and rows"
                raise invalid_input(text, "file") from None


def table_cost(cost: float) -> float:
    """Return the cost of work on a table: pandas alone takes too long for the event loop."""
    return cost + request_costs.MAX_ON_LOOP


async def json_or_csv(
    request: Request,
    served: ServedModel,
    *,
    cost: float,
    json_body: Callable[[], bytes],
    table: Callable[[], pd.DataFrame],
) -> Response:
    """Return a response with `json_body` if the client accepts JSON only, else with `table` as CSV.

    The fields that describe the model are headers of a CSV response. To make either takes about `cost` milliseconds.
    """
    accept = request.headers.get("accept", "")
    if "application/json" in accept and "text/csv" not in accept:
        return JsonResponse(await in_turn(request, cost, json_body), 200)
    content = await in_turn(request, cost, lambda: _csv(table()))
    fields = response_building.model_fields(served, context_of(request).elapsed_ms)
    fields["beaten_by_baseline"] = str(fields["beaten_by_baseline"]).lower()
    headers = {f"X-{name.replace('_', '-').title()}": str(value) for name, value in fields.items() if value is not None}
    return Response(content, media_type="text/csv", headers=headers)


def _csv(table: pd.DataFrame) -> str:
    """The table as CSV, written some rows at a time, between which other threads may run."""
    return table.to_csv(index=False, chunksize=max(1, VALUES_AT_ONCE // len(table.columns)))
