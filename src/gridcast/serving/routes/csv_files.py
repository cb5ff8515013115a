"""CSV files: read from an upload, and sent as a response."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio.to_thread
import pandas as pd
from fastapi import Request, UploadFile
from fastapi.responses import Response

from gridcast.runtime.errors import DataError
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.serving import http_errors, json_logging
from gridcast.serving.http import context_of, json_response, state_of, utc_now
from gridcast.serving.http_errors import invalid_input
from gridcast.serving.models.served_model import ServedModel
from gridcast.serving.payloads import request_parsing, response_building

LOG = logging.getLogger(json_logging.LOGGER_NAME)
T = TypeVar("T")


@dataclass(frozen=True)
class CsvFile:
    """An uploaded file for the model `served`; `read` is the reader of its experiment's tables."""

    file: UploadFile
    served: ServedModel
    read: Callable[[Path, Preprocessing], pd.DataFrame]

    async def process(self, request: Request, process: Callable[[pd.DataFrame], T]) -> T:
        """Return what `process` makes of the table in the file, whose size and times are checked.

        All of it runs in a thread, as a large table takes seconds. Raises HttpError (422).
        """
        context, limits = context_of(request), state_of(request).settings.limits
        context.model, content = self.served.name, await self.file.read()

        def work() -> T:
            table = self._parse(content)
            context.rows = len(table)
            request_parsing.check_table(table, self.served, limits=limits, now=utc_now())
            return process(table)

        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)

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


def json_or_csv(
    request: Request,
    served: ServedModel,
    *,
    json_fields: Callable[[], dict[str, Any]],
    table: Callable[[], pd.DataFrame],
) -> Response:
    """Return a response with `json_fields` if the client accepts JSON only, else with `table` as CSV.

    The fields that describe the model are headers of a CSV response.
    """
    fields = response_building.model_fields(served, context_of(request).elapsed_ms)
    accept = request.headers.get("accept", "")
    if "application/json" in accept and "text/csv" not in accept:
        return json_response(fields | json_fields())
    fields["beaten_by_baseline"] = str(fields["beaten_by_baseline"]).lower()
    headers = {f"X-{name.replace('_', '-').title()}": str(value) for name, value in fields.items() if value is not None}
    return Response(table().to_csv(index=False), media_type="text/csv", headers=headers)
