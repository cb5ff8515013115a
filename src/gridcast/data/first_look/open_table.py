"""Open an unknown table: its files, the row that names its columns, and all columns as they come."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gridcast.config import Data
from gridcast.data import csv_text, excel_file, file_bytes, raw_table, sources
from gridcast.data.builtin import BUILTIN_SETS
from gridcast.data.parse_fields import LINE
from gridcast.data.raw_table import RawTable
from gridcast.runtime.errors import ConfigError, DataError

TABLE_ENDINGS = (".csv", ".tsv", ".parquet", ".xlsx", ".txt")
COMPRESSED = (".gz", ".xz", ".zip")
SHOWN_BODY = 50
"""Rows below a header that show how many columns there are."""
HEADER_LINES = range(csv_text.SEARCHED_LINES)
SHEET_ROWS = range(20)
ENCODINGS = ("utf-16-le", "utf-16-be")
"""Those without a byte order mark that the reader recognises, but does not read unasked."""
RESERVED = ("__",)
"""How the names of the reader's own columns begin."""


@dataclass(frozen=True)
class OpenedTable:
    """The first of the `paths` that `source` names, with all of its columns, and the `settings` that it needs.

    `reasons` say why, by setting; `notes` are remarks for a person.
    """

    source: str
    paths: tuple[str, ...]
    raw: RawTable
    settings: Mapping[str, Any]
    reasons: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The columns that have a name of their own, in the order of the table."""
        return [str(name) for name in self.raw.rows.columns if name != LINE]


def open_table(source: str, query: str | None = None) -> OpenedTable:
    """Return the table that `source` names: a file, a folder, a pattern, an address, or a database with a `query`.

    Raises ConfigError and DataError.
    """
    if source in BUILTIN_SETS:
        raise ConfigError(f"{source}: is a built-in set, and has an experiment already; give a table of your own")
    pattern, notes = _pattern_of_folder(source) if Path(source).is_dir() else (source, ())
    paths = tuple(sources.matching_tables(pattern))
    if not paths:
        raise DataError(f"{source}: no such file, and no file matches it as a pattern; give a table or a folder")
    settings, reasons = _settings(paths[0], query)
    raw = _all_columns(pattern, paths[0], settings)
    return OpenedTable(pattern, paths, raw, settings, reasons, notes)


def _pattern_of_folder(folder: str) -> tuple[str, tuple[str, ...]]:
    """The pattern of the files of the most frequent kind in a folder, and a note on others."""
    root = Path(folder)
    for pattern in ("*", "**/*"):
        endings = Counter(ending for path in root.glob(pattern) if path.is_file() and (ending := _ending(path)))
        if ".txt" in endings and len(endings) > 1:
            del endings[".txt"]  # beside tables these are remarks
        if endings:
            ending, count = endings.most_common(1)[0]
            others = [f"{number} {other}" for other, number in endings.items() if other != ending]
            note = f"{count} {ending} files of {folder} are read, {', '.join(others)} files are not" if others else ""
            return str(root / f"{pattern}{ending}"), (note,) if note else ()
    raise DataError(f"{folder}: the folder holds no table ({', '.join(TABLE_ENDINGS)})")


def _ending(path: Path) -> str:
    """The ending of a table, compression included, empty for another file."""
    suffixes = path.suffixes[-2:] if path.suffix.lower() in COMPRESSED else path.suffixes[-1:]
    is_table = bool(suffixes) and suffixes[0].lower() in TABLE_ENDINGS and not path.name.startswith(".")
    return "".join(suffixes) if is_table else ""


def _settings(path: str, query: str | None) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings without which the reader does not find the columns, and why each is needed."""
    if file_bytes.is_database(path):
        return _query(path, query)
    kind = file_bytes.kind_of(path)
    if kind == "excel":
        return _sheet(path)
    return _lines_to_skip(path) if kind == "text" else ({}, {})


def _query(address: str, query: str | None) -> tuple[dict[str, Any], dict[str, str]]:
    if query is not None:
        return {"query": query}, {"query": "as stated"}
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(address)
        names = [str(name) for name in sqlalchemy.inspect(engine).get_table_names()]
    except ImportError as error:
        raise DataError(f"{file_bytes.shown(address)}: needs another package: {error}") from None
    except sqlalchemy.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
        raise DataError(f"{file_bytes.shown(address)}: cannot be opened: {reason}") from None
    if not names:
        raise DataError(f"{file_bytes.shown(address)}: the database holds no table; give another one")
    if len(names) > 1:
        raise ConfigError(
            f"{file_bytes.shown(address)}: holds {len(names)} tables ({', '.join(names[:12])}); say which rows, such "
            f"as --query '{_all_rows(engine, names[0])}'"
        )
    return {"query": _all_rows(engine, names[0])}, {"query": "the only table of the database"}


def _all_rows(engine: Any, table: str) -> str:
    return f"SELECT * FROM {engine.dialect.identifier_preparer.quote(table)}"  # noqa: S608 - a name of the database


def _sheet(path: str) -> tuple[dict[str, Any], dict[str, str]]:
    titles = excel_file.filled_sheets(path)
    fitting = [(title, skip) for title in titles if (skip := _rows_to_skip(path, title)) is not None]
    if not fitting:
        return {}, {}
    title, skip = fitting[0]
    settings: dict[str, Any] = {"skip": skip} if skip else {}
    reasons = {"skip": f"row {skip + 1} names the columns"}
    if len(titles) > 1:
        others = [other for other, _ in fitting[1:]]
        settings["sheet"] = title
        reasons["sheet"] = f"other sheets: {', '.join(others)}" if others else "the only sheet with a table"
    return settings, reasons


def _rows_to_skip(path: str, title: str) -> int | None:
    """The rows above the header of a sheet, None where it holds no table."""
    for skip in SHEET_ROWS:
        try:
            frame, _ = excel_file.read_sheet(path, title, skip, settable=True)
        except DataError:
            continue
        body = frame.drop(columns=excel_file.ROW)
        named = [name for name in body.columns if not str(name).startswith(RESERVED)]
        counts = body.iloc[:SHOWN_BODY].notna().sum(axis=1)
        usual = int(counts[counts > 0].mode().max()) if (counts > 0).any() else 0
        if 2 <= usual <= len(named) and not csv_text.holds_values(named):
            return skip
    return None


def _lines_to_skip(path: str) -> tuple[dict[str, Any], dict[str, str]]:
    settings, reasons = _encoding(path)
    text, _ = csv_text.read_text(path, settings.get("encoding"))
    for skip in HEADER_LINES:
        try:
            header = csv_text.parse_header(text, path, csv_text.HeaderOptions(skip=skip))
        except DataError:
            continue
        if header.line <= skip:  # that line is blank, and the first one was taken
            continue
        if _is_header(text, header):
            if skip:
                settings, reasons = settings | {"skip": skip}, reasons | {"skip": f"line {header.line} is the header"}
            return settings, reasons
    csv_text.parse_header(text, path, csv_text.HeaderOptions(), fits=lambda _: False)  # says what the first line holds
    return settings, reasons


def _encoding(path: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The encoding of a file that only reads in one that has to be stated."""
    try:
        csv_text.read_text(path)
    except DataError as error:
        for encoding in ENCODINGS:
            if f"data.encoding: {encoding}" in str(error):
                return {"encoding": encoding}, {"encoding": "every second byte is 0, as in this encoding"}
        raise
    return {}, {}


def _is_header(text: bytes, header: csv_text.Header) -> bool:
    """Whether a line names as many columns as most rows below it have fields."""
    named = [name for name in header.names if name]
    if len(named) < 2 or csv_text.holds_values(header.names):
        return False
    body = text[header.start : header.start + csv_text.HEADER_BYTES].decode("utf-8", "ignore")
    rows = csv.reader(io.StringIO(body, newline=""), delimiter=header.separator)
    widths: Counter[int] = Counter()
    for number, fields in enumerate(rows):
        if number and any(fields):
            widths[len(fields)] += 1
        if number >= SHOWN_BODY:
            break
    return not widths or 2 <= widths.most_common(1)[0][0] <= len(header.names)


def _all_columns(source: str, path: str, settings: Mapping[str, Any]) -> RawTable:
    """The table with every column that has a name of its own."""
    data = Data(source=source, time="time", target="value", **settings)
    names = raw_table.column_names(path, data)
    unique = [name for name in names if name and names.count(name) == 1 and not name.startswith(RESERVED)]
    if len(unique) < 2:
        repeated = next((name for name in names if name and names.count(name) > 1), None)
        reason = f"the column '{repeated}' occurs twice" if repeated else f"one column ('{names[0]}')"
        raise DataError(f"{path}: {reason}; a table needs one of time stamps and one of values, each named once")
    first, *others = unique
    everything = data.model_copy(update={"time": first, "target": first, "sensors": tuple(others)})
    return raw_table.read_raw_table(path, everything, settable=True)
