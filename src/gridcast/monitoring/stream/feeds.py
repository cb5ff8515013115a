"""Feeds of a stream: CSV files that appear in a folder, or rows that an address returns."""

from __future__ import annotations

import csv
import http.client
import io
import json
import logging
import time as clock
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gridcast.runtime.errors import ConfigError, DataError, GridcastError, suggest

UNFINISHED_LINE_SECONDS = 5.0
"""Age of a file from which its last line counts even without a line break; before, a writer may be at work."""
FEED_TIMEOUT = 20.0
"""Seconds to wait for an address."""
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeedBatch:
    """Rows that were read at once, as text except for the time column, which is parsed.

    `source` is the file or the address. Of a file, `begin` bytes were read before and `end` are now. `unreadable` rows
    are not among `rows`; `notes` say what is wrong with them.
    """

    source: str
    rows: pd.DataFrame
    begin: int = 0
    end: int = 0
    unreadable: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FolderFeed:
    """CSV files of a folder, each identified by its name; rows appended to a file are read when they appear.

    A file is read up to its last complete line. One that has become shorter was replaced and is read again. Names that
    begin with a dot are ignored, so that a file can be written under such a name and then renamed.
    """

    path: Path
    time: str

    @property
    def name(self) -> str:
        """The name for messages."""
        return str(self.path)

    def new_batches(self, bytes_read: Mapping[str, int], after: pd.Timestamp | None) -> list[FeedBatch]:  # noqa: ARG002
        """Return what is new since `bytes_read` (by file name), a batch for each file, the oldest times first.

        `after` is ignored, as it is for addresses. Raises GridcastError where the folder does not exist.
        """
        if not self.path.is_dir():
            raise GridcastError(f"{self.path}: no such folder")
        paths = sorted(self.path.glob("[!.]*.csv"))
        batches = [batch for path in paths if (batch := self._read(path, bytes_read.get(path.name, 0))) is not None]
        return sorted(batches, key=lambda batch: batch.rows[self.time].min() if len(batch.rows) else pd.Timestamp.min)

    def _read(self, path: Path, bytes_read: int) -> FeedBatch | None:
        try:
            status = path.stat()
            if status.st_size == bytes_read:
                return None
            content = path.read_bytes()
            begin = bytes_read if len(content) >= bytes_read else 0
            if clock.time() - status.st_mtime < UNFINISHED_LINE_SECONDS:
                content = content[: content.rfind(b"\n") + 1]
            if len(content) <= begin:
                return None
            header, line_break, rest = content.partition(b"\n")
            # A file may have been read before when it had no more than a part of its header.
            new_lines = content[begin:] if begin > len(header) else rest
            rows, unreadable, notes = _parse(header + line_break + new_lines, self.time)
            if begin < bytes_read:
                notes = ("the file has become shorter, so it is read again from its start", *notes)
            return FeedBatch(path.name, rows, bytes_read, len(content), unreadable, notes)
        except FileNotFoundError:  # moved away in the meantime
            return None
        except OSError as error:
            LOG.warning("%s: cannot be read: %s; tried again at the next poll", path, error)
            return None


@dataclass(frozen=True)
class WebFeed:
    """An address that answers `GET URL?after=TIME` with the rows after that time, as CSV or JSON.

    JSON is a list of objects, or an object with such a list as `rows`. Without `after`, it returns all rows.
    """

    url: str
    time: str

    @property
    def name(self) -> str:
        """The name for messages, without the query, which may contain a secret."""
        return self.url.partition("?")[0]

    def new_batches(self, bytes_read: Mapping[str, int], after: pd.Timestamp | None) -> list[FeedBatch]:  # noqa: ARG002
        """Return the rows after the time `after`, as one batch; `bytes_read` is ignored, as it is for folders.

        Raises GridcastError where the address returns no complete response.
        """
        parts = urllib.parse.urlsplit(self.url)
        query = urllib.parse.parse_qsl(parts.query) + ([("after", after.isoformat())] if after is not None else [])
        url = urllib.parse.urlunsplit(parts._replace(query=urllib.parse.urlencode(query)))
        request = urllib.request.Request(url, headers={"Accept": "text/csv, application/json"})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=FEED_TIMEOUT) as response:  # noqa: S310 - see `open_feed`
                body = response.read()
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # an HTTPError is an open response too
            raise GridcastError(f"{self.name}: no response: {error}") from None
        rows, unreadable, notes = _parse(body, self.time)
        return [FeedBatch(self.name, rows, unreadable=unreadable, notes=notes)] if len(rows) or unreadable else []


def open_feed(source: str, time: str) -> FolderFeed | WebFeed:
    """Return the feed of a folder or an http(s) address; `time` names the time column. Raises ConfigError."""
    scheme, separator, _ = source.partition("://")
    if not separator:
        if not Path(source).is_dir():
            raise ConfigError(
                f"--follow: '{source}' is no folder; create it, or give an address such as http://host/rows"
            )
        return FolderFeed(Path(source), time)
    parts = urllib.parse.urlsplit(source)
    if scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ConfigError(
            f"--follow: the address (scheme: {scheme}) must be like http://host/rows, without user name and password"
        )
    return WebFeed(source, time)


def _parse(body: bytes, time: str) -> tuple[pd.DataFrame, int, tuple[str, ...]]:
    """Return the rows of `body` that have a time, the number of the other rows, and what is wrong with those."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = body.decode("latin-1")
    if not text.strip():
        return pd.DataFrame({time: []}), 0, ()
    is_csv = text.lstrip()[0] not in "[{"
    lines = len([line for line in text.splitlines()[1:] if line.strip()]) if is_csv else 0
    try:
        rows = _parse_csv(text) if is_csv else _parse_json(text)
        if len(rows) and time not in rows:
            names = [str(name) for name in rows.columns]
            raise DataError(f"no column '{time}'{suggest(time, names)} (there are: {', '.join(names)})")
    except DataError as error:
        return pd.DataFrame({time: []}), max(lines, 1), (str(error),)
    if not len(rows):
        return pd.DataFrame({time: []}), lines, (f"{lines} lines are incomplete",) if lines else ()
    torn = lines - len(rows) if is_csv else 0
    texts = rows[time].astype(str).str.strip()
    times = pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True).dt.tz_localize(None).dt.as_unit("us")
    is_bad = times.isna()
    notes = [f"{torn} lines have more or fewer fields than the header"] if torn else []
    if is_bad.any():
        example = texts[is_bad].iloc[0]
        notes.append(f"{is_bad.sum()} rows have no time such as 2024-01-31T12:00:00, the first '{example}'")
    return rows.assign(**{time: times})[~is_bad].reset_index(drop=True), torn + int(is_bad.sum()), tuple(notes)


def _parse_csv(text: str) -> pd.DataFrame:
    """Return every line that has as many fields as the header, as text."""
    separator = max(",;\t", key=text.split("\n", 1)[0].count)
    try:
        names, *lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    except csv.Error as error:
        raise DataError(f"not a CSV table: {error}") from None
    names = [name.strip() for name in names]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise DataError(f"the column '{min(repeated)}' occurs twice")
    rows = pd.DataFrame([fields for fields in lines if len(fields) == len(names)], columns=names, dtype=str)
    # Where the separator is another one, a comma is a decimal comma.
    return rows if separator == "," else rows.replace(r"^\s*([-+]?\d+),(\d+)\s*$", r"\1.\2", regex=True)


def _parse_json(text: str) -> pd.DataFrame:
    try:
        content: Any = json.loads(text)
        return pd.DataFrame(content["rows"] if isinstance(content, dict) else content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"not a list of rows in JSON: {type(error).__name__}: {error}") from None
