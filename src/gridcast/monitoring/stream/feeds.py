"""Where a stream comes from: files that appear in a folder, or rows that an address gives."""

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
"""Seconds after which a file is taken for whole whose last line has no end; a writer may be at it till then."""
FEED_TIMEOUT = 20.0
"""Seconds to wait for an address."""
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeedBatch:
    """What came at once: `rows` as they were given, but for the stamps of their time column, which are read.

    `source` is the file or the address. Of a file, `begin` bytes were taken before and `end` are now. `unreadable` rows
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
    """CSV files of a folder, each known by its name: what it gains at its end is taken when it comes.

    A file is taken up to its last whole line. One that has shrunk was replaced and is read again. Names that
    begin with a point are passed over, so that a file can be written aside and renamed.
    """

    path: Path
    time: str

    @property
    def name(self) -> str:
        """For people."""
        return str(self.path)

    def new(self, taken: Mapping[str, int], mark: pd.Timestamp | None) -> list[FeedBatch]:  # noqa: ARG002 - as Web
        """What was not `taken` (bytes by file name), a stretch for each file, the oldest first.

        Raises GridcastError where there is no such folder.
        """
        if not self.path.is_dir():
            raise GridcastError(f"{self.path}: no such folder")
        found = [self._read(path, taken.get(path.name, 0)) for path in sorted(self.path.glob("[!.]*.csv"))]
        stretches = [stretch for stretch in found if stretch is not None]
        return sorted(stretches, key=lambda one: one.rows[self.time].min() if len(one.rows) else pd.Timestamp.min)

    def _read(self, path: Path, taken: int) -> FeedBatch | None:
        try:
            about = path.stat()
            if about.st_size == taken:
                return None
            raw = path.read_bytes()
            begin = taken if len(raw) >= taken else 0
            if clock.time() - about.st_mtime < UNFINISHED_LINE_SECONDS:
                raw = raw[: raw.rfind(b"\n") + 1]
            if len(raw) <= begin:
                return None
            header, line, rest = raw.partition(b"\n")
            # A file may have been taken before it had more than its header.
            rows, unreadable, notes = _table(header + line + (raw[begin:] if begin > len(header) else rest), self.time)
            shrunk = ("the file has shrunk, it is read again",) if begin < taken else ()
            return FeedBatch(path.name, rows, taken, len(raw), unreadable, (*shrunk, *notes))
        except FileNotFoundError:  # moved away meanwhile
            return None
        except OSError as error:
            LOG.warning("%s: cannot be read: %s; tried again at the next look", path, error)
            return None


@dataclass(frozen=True)
class WebFeed:
    """An address that answers `GET URL?after=STAMP` with the rows after that stamp, as CSV or JSON.

    JSON is a list of objects, or an object with such a list as `rows`. Without `after`, all rows are wanted.
    """

    url: str
    time: str

    @property
    def name(self) -> str:
        """For people, without what may be a secret."""
        return self.url.partition("?")[0]

    def new(self, taken: Mapping[str, int], mark: pd.Timestamp | None) -> list[FeedBatch]:  # noqa: ARG002 - as Folder
        """The rows after `mark`, as one stretch. Raises GridcastError where the address gives no whole answer."""
        parts = urllib.parse.urlsplit(self.url)
        asked = urllib.parse.parse_qsl(parts.query) + ([("after", mark.isoformat())] if mark is not None else [])
        url = urllib.parse.urlunsplit(parts._replace(query=urllib.parse.urlencode(asked)))
        request = urllib.request.Request(url, headers={"Accept": "text/csv, application/json"})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=FEED_TIMEOUT) as answer:  # noqa: S310 - see `feed`
                body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it is an open answer too
            raise GridcastError(f"{self.name}: no answer: {error}") from None
        rows, unreadable, notes = _table(body, self.time)
        return [FeedBatch(self.name, rows, unreadable=unreadable, notes=notes)] if len(rows) or unreadable else []


def open_feed(source: str, time: str) -> FolderFeed | WebFeed:
    """The feed that `source` means, a folder or an http(s) address; `time` names the column of stamps. ConfigError."""
    scheme, found, _ = source.partition("://")
    if not found:
        if not Path(source).is_dir():
            raise ConfigError(
                f"--follow: '{source}' is no folder; make it, or give an address such as http://host/rows"
            )
        return FolderFeed(Path(source), time)
    parts = urllib.parse.urlsplit(source)
    if scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ConfigError(
            f"--follow: (scheme: {scheme}) is no address such as http://host/rows, without name and password"
        )
    return WebFeed(source, time)


def _table(body: bytes, time: str) -> tuple[pd.DataFrame, int, tuple[str, ...]]:
    """The rows of `body` that have a stamp, how many more there are, and what is wrong with those."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = body.decode("latin-1")
    if not text.strip():
        return pd.DataFrame({time: []}), 0, ()
    written = text.lstrip()[0] not in "[{"
    lines = len([line for line in text.splitlines()[1:] if line.strip()]) if written else 0
    try:
        rows = _csv(text) if written else _json(text)
        if len(rows) and time not in rows:
            names = [str(name) for name in rows.columns]
            raise DataError(f"no column '{time}'{suggest(time, names)} (there are: {', '.join(names)})")
    except DataError as error:
        return pd.DataFrame({time: []}), max(lines, 1), (str(error),)
    if not len(rows):
        return pd.DataFrame({time: []}), lines, (f"{lines} lines are torn",) if lines else ()
    torn = lines - len(rows) if written else 0
    given = rows[time].astype(str).str.strip()
    stamps = pd.to_datetime(given, format="ISO8601", errors="coerce", utc=True).dt.tz_localize(None).dt.as_unit("us")
    bad = stamps.isna()
    notes = [f"{torn} lines have more or fewer fields than the header"] if torn else []
    if bad.any():
        notes.append(f"{bad.sum()} rows have no time such as 2024-01-31T12:00:00, the first '{given[bad].iloc[0]}'")
    return rows.assign(**{time: stamps})[~bad].reset_index(drop=True), torn + int(bad.sum()), tuple(notes)


def _csv(text: str) -> pd.DataFrame:
    """Every whole line, as text."""
    separator = max(",;\t", key=text.split("\n", 1)[0].count)
    try:
        names, *lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    except csv.Error as error:
        raise DataError(f"no table: {error}") from None
    names = [name.strip() for name in names]
    if twice := {name for name in names if names.count(name) > 1}:
        raise DataError(f"the column '{min(twice)}' stands twice")
    rows = pd.DataFrame([fields for fields in lines if len(fields) == len(names)], columns=names, dtype=str)
    return rows if separator == "," else rows.replace(r"^\s*([-+]?\d+),(\d+)\s*$", r"\1.\2", regex=True)


def _json(text: str) -> pd.DataFrame:
    try:
        given: Any = json.loads(text)
        return pd.DataFrame(given["rows"] if isinstance(given, dict) else given)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"no list of rows in JSON: {type(error).__name__}: {error}") from None
