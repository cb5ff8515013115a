"""Large JSON bodies, read in pieces.

The parser of a whole body would hold Python for half a second, in which no other request is answered, and a step as an
object takes fifty times its bytes. So the rows of a large body stay text, whose pieces are parsed one after the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import Field, TypeAdapter, ValidationError

from gridcast.serving.cancellation import check_cancelled
from gridcast.serving.http_errors import HttpError, invalid_input
from gridcast.serving.payloads import schemas
from gridcast.serving.rate_limits import RequestLimits

PIECE = 2**16
"""Characters of a piece, and of any other value of a large body."""
MAX_MEMBERS = 200
"""Members of an object that is not a row of a large body."""
MAX_ERRORS = 50
"""Errors of a body that are looked at, each of a kilobyte; there are more only where fields are unknown."""
SPACE = re.compile(r"[ \t\n\r]*")
Step = TypeVar("Step", schemas.HistoryStep, schemas.FutureStep, schemas.SensorRow)
Place = tuple[str | int, ...]
_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_FIRST_ERROR = Field(fail_fast=True)
_HISTORY = TypeAdapter(Annotated[list[schemas.HistoryStep], _FIRST_ERROR])
_FUTURE = TypeAdapter(Annotated[list[schemas.FutureStep], _FIRST_ERROR])
_ROWS = TypeAdapter(Annotated[list[schemas.SensorRow], _FIRST_ERROR])
ROW_LISTS: dict[str, TypeAdapter[Any]] = {"history": _HISTORY, "future": _FUTURE}
_PREDICTION, _DETECTION = TypeAdapter(schemas.PredictRequest), TypeAdapter(schemas.AnomalyRequest)


@dataclass(frozen=True)
class RowPieces(Generic[Step]):
    """The steps in `text`, whose pieces begin, end and count as `spans` say; `place` is where they are in the body."""

    text: str
    spans: tuple[tuple[int, int, int], ...]
    adapter: TypeAdapter[list[Step]]
    place: Place

    def __len__(self) -> int:
        return sum(count for _, _, count in self.spans)

    def pieces(self) -> Iterator[list[Step]]:
        """Yield the steps, piece by piece. Raises RequestValidationError."""
        first = 0
        for start, end, count in self.spans:
            check_cancelled()
            yield _validate(self.adapter, f"[{self.text[start:end]}]", self.place, first)
            first += count


def pieces_of(steps: Sequence[Step] | RowPieces[Step]) -> Iterator[Sequence[Step]]:
    """Yield steps of a request, piece by piece if it is a large one. Raises RequestValidationError."""
    if isinstance(steps, RowPieces):
        yield from steps.pieces()
    else:
        yield steps


def _validate(adapter: TypeAdapter[Any], text: str, place: Place = ("body",), first: int = 0) -> Any:
    """Return what `adapter` makes of JSON. Raises RequestValidationError, whose places begin with `place`.

    The numbers that follow it begin with `first`.
    """
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        raise request_error(error, place, first) from None


def request_error(
    error: ValidationError, place: Place = ("body",), first: int = 0
) -> HttpError | RequestValidationError:
    """Return the error of a body at `place`, where the first number is counted from `first`."""
    if error.error_count() > MAX_ERRORS:
        return invalid_input("has many unknown fields", "body", "unknown_field")
    errors = error.errors(include_url=False, include_input=False)
    return RequestValidationError([one | {"loc": (*place, *_shifted(one["loc"], first))} for one in errors])


def _shifted(path: Place, first: int) -> Place:
    return (path[0] + first, *path[1:]) if first and path and isinstance(path[0], int) else path


def read_prediction(body: bytes, limits: RequestLimits) -> schemas.PredictRequest:
    """Return a large request for forecasts. Raises HttpError and RequestValidationError."""
    reader = _Reader(body, limits)
    fields: dict[str, Any] = {}
    pieces: list[dict[str, RowPieces[Any]]] = []
    for name in reader.members():
        if name != "series" or not reader.is_next("["):
            fields[name] = reader.value()
            continue
        fields[name], pieces = [], []
        for number in reader.elements():
            if number == limits.series:
                text = f"at most {limits.series} series can be forecast at once"
                raise invalid_input(text, "series", "limit_series")
            if not reader.is_next("{"):
                fields[name].append(reader.value())
                pieces.append({})
                continue
            series, of_series = dict[str, Any](), dict[str, RowPieces[Any]]()
            for key in reader.members():
                adapter = ROW_LISTS.get(key)
                if adapter and reader.is_next("["):
                    series[key], of_series[key] = reader.rows(adapter, ("body", "series", number, key))
                else:
                    series[key] = reader.value()
                    of_series.pop(key, None)
            fields[name].append(series)
            pieces.append(of_series)
    reader.end()
    request: schemas.PredictRequest = _validate(_PREDICTION, json.dumps(fields))
    series_with_pieces = [
        one.model_copy(update=of_series) for one, of_series in zip(request.series, pieces, strict=True)
    ]
    return request.model_copy(update={"series": series_with_pieces})


def read_detection(body: bytes, limits: RequestLimits) -> schemas.AnomalyRequest:
    """Return a large request for anomaly scores. Raises HttpError and RequestValidationError."""
    reader = _Reader(body, limits)
    fields: dict[str, Any] = {}
    pieces: dict[str, RowPieces[Any]] = {}
    for name in reader.members():
        if name == "rows" and reader.is_next("["):
            fields[name], pieces[name] = reader.rows(_ROWS, ("body", name))
        else:
            fields[name] = reader.value()
            pieces.pop(name, None)
    reader.end()
    request: schemas.AnomalyRequest = _validate(_DETECTION, json.dumps(fields))
    return request.model_copy(update=pieces)


class _Reader:
    """A position in a JSON text; values are parsed one by one. Methods raise HttpError (422)."""

    def __init__(self, body: bytes, limits: RequestLimits) -> None:
        try:
            self._text, self._at = body.decode(), 0
        except UnicodeDecodeError:
            raise _invalid() from None
        self._limits, self._rows = limits, 0

    def is_next(self, mark: str) -> bool:
        """Whether the next value begins with `mark`."""
        self._at = self._after_space(self._at)
        return self._text.startswith(mark, self._at)

    def members(self) -> Iterator[str]:
        """Yield the name of each member of an object; whoever asks for the next has read the value."""
        for number in self._parts("{", "}"):
            if number == MAX_MEMBERS:
                raise invalid_input(f"an object has more than {MAX_MEMBERS} fields", "body", "unknown_field")
            name = self.value()
            if not isinstance(name, str):
                raise _invalid()
            self._take(":")
            yield name

    def elements(self) -> Iterator[int]:
        """Yield the number of each element of a list; whoever asks for the next has read it."""
        yield from self._parts("[", "]")

    def value(self) -> Any:
        """Return the next value, which must be a small one."""
        self._at = self._after_space(self._at)
        value, end = self._scan(self._text[self._at : self._at + PIECE], 0)
        if end == PIECE:
            raise _too_large()
        self._at += end
        return value

    def rows(self, adapter: TypeAdapter[list[Step]], place: Place) -> tuple[list[Any], RowPieces[Step]]:
        """Return the first of the rows in the next list, if there is one, and all of them as pieces."""
        first_row: list[Any] = []
        spans: list[tuple[int, int, int]] = []
        self._take("[")
        if self.is_next("]"):
            self._take("]")
            return first_row, RowPieces(self._text, (), adapter, place)
        is_last = False
        while not is_last:
            self._at = self._after_space(self._at)
            piece = self._text[self._at : self._at + PIECE]
            row, end, count, is_last = self._rows_of(piece)
            first_row = first_row or [row]
            spans.append((self._at, self._at + end, count))
            self._rows += count
            if self._rows > self._limits.rows:
                text = f"at most {self._limits.rows} rows in a request"
                raise invalid_input(text, ".".join(map(str, place[1:2])), "limit_rows")
            self._at += end
            self._take("]" if is_last else ",")
        return first_row, RowPieces(self._text, tuple(spans), adapter, place)

    def end(self) -> None:
        """Check that nothing follows."""
        if self._after_space(self._at) != len(self._text):
            raise _invalid()

    def _rows_of(self, piece: str) -> tuple[Any, int, int, bool]:
        """The first row of a piece, the end of its last whole row, their number, and whether the list ends there."""
        first, end, at, count = None, 0, 0, 0
        while True:
            try:
                row, at = _scan(piece, at)
            except (StopIteration, ValueError, RecursionError):
                if not count:
                    self._scan(piece, 0)  # raises
                return first, end, count, False
            mark = SPACE.match(piece, at).end()  # type: ignore[union-attr]
            if mark == len(piece):  # the row may go on in the next piece
                if not count:
                    raise _too_large() if len(piece) == PIECE else _invalid()
                return first, end, count, False
            first, end, count = first if count else row, at, count + 1
            if piece[mark] != ",":
                return first, end, count, True
            at = SPACE.match(piece, mark + 1).end()  # type: ignore[union-attr]

    def _scan(self, text: str, at: int) -> tuple[Any, int]:
        try:
            value, end = _scan(text, at)
        except (StopIteration, ValueError, RecursionError):
            raise _too_large() if len(text) == PIECE else _invalid() from None
        return value, end

    def _parts(self, begin: str, end: str) -> Iterator[int]:
        self._take(begin)
        if self.is_next(end):
            self._take(end)
            return
        number = 0
        while True:
            self._at = self._after_space(self._at)
            yield number
            number += 1
            check_cancelled()
            if self.is_next(end):
                self._take(end)
                return
            self._take(",")

    def _take(self, mark: str) -> None:
        if not self.is_next(mark):
            raise _invalid()
        self._at += 1

    def _after_space(self, at: int) -> int:
        return SPACE.match(self._text, at).end()  # type: ignore[union-attr]


def _invalid() -> HttpError:
    return invalid_input("the body is not valid JSON", "body", "invalid_body")


def _too_large() -> HttpError:
    text = f"a value of the body has more than {PIECE} characters, or is not valid JSON"
    return invalid_input(text, "body", "invalid_body")
