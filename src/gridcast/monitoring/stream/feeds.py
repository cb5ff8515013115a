"""Feeds of a stream: CSV files that appear in a folder, or rows that an address returns."""

from __future__ import annotations

import http.client
import logging
import time as clock
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from gridcast.monitoring.stream.feed_rows import RowFormat, parse_rows
from gridcast.runtime.errors import ConfigError, DataError, GridcastError

UNFINISHED_LINE_SECONDS = 5.0
"""Age of a file from which its last line counts even without a line break; before, a writer may be at work."""
FEED_TIMEOUT = 20.0
"""Seconds to wait for an address."""
ENDINGS = tuple(f"{kind}{packed}" for kind in (".csv", ".tsv") for packed in ("", ".gz", ".xz", ".zip"))
"""Endings of the names of files that are read, in any case."""
NOT_PLAIN = (b"\x1f\x8b", b"\xfd7zXZ", b"PK", b"\xff\xfe", b"\xfe\xff")
"""First bytes of files that are compressed or UTF-16: they are read as a whole."""
HEADER_BYTES = 2**16
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
    form: RowFormat

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
        paths = sorted(path for path in self.path.glob("[!.]*") if path.name.lower().endswith(ENDINGS))
        batches = [batch for path in paths if (batch := self._read(path, bytes_read.get(path.name, 0))) is not None]
        time = self.form.time
        return sorted(batches, key=lambda batch: batch.rows[time].min() if len(batch.rows) else pd.Timestamp.min)

    def _read(self, path: Path, bytes_read: int) -> FeedBatch | None:
        try:
            status = path.stat()
            if status.st_size == bytes_read:
                return None
            content = path.read_bytes()
            begin = bytes_read if len(content) >= bytes_read else 0
            is_plain = not content.startswith(NOT_PLAIN)
            if is_plain and clock.time() - status.st_mtime < UNFINISHED_LINE_SECONDS:
                content = content[: content.rfind(b"\n") + 1]
            if len(content) <= begin:
                return None
            parsed = parse_rows(self._new_part(content, begin) if is_plain else content, path.name, self.form)
            notes = parsed.notes
            if begin < bytes_read:
                notes = ("the file has become shorter, so it is read again from its start", *notes)
            return FeedBatch(path.name, parsed.rows, bytes_read, len(content), parsed.unreadable, notes)
        except FileNotFoundError:  # moved away in the meantime
            return None
        except OSError as error:
            LOG.warning("%s: cannot be read: %s; tried again at the next poll", path, error)
            return None

    def _new_part(self, content: bytes, begin: int) -> bytes:
        """The header of a file, and its lines after the first `begin` bytes."""
        end = 0
        try:
            for _ in range(self.form.find_header(content[:HEADER_BYTES], self.path.name).line):
                end = content.find(b"\n", end) + 1
        except DataError:  # which the parser reports
            return content
        # A file may have been read before when it had no more than a part of its header.
        return content if begin < end or not end else content[:end] + content[begin:]


@dataclass(frozen=True)
class WebFeed:
    """An address that answers `GET URL?after=TIME` with the rows after that time, as CSV or JSON.

    JSON is a list of objects, or an object with such a list as `rows`. Without `after`, it returns all rows.
    """

    url: str
    form: RowFormat

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
        parsed = parse_rows(body, self.name, self.form)
        if not len(parsed.rows) and not parsed.unreadable:
            return []
        return [FeedBatch(self.name, parsed.rows, unreadable=parsed.unreadable, notes=parsed.notes)]


def open_feed(source: str, form: RowFormat) -> FolderFeed | WebFeed:
    """Return the feed of a folder or an http(s) address, whose rows have the `form`. Raises ConfigError."""
    scheme, separator, _ = source.partition("://")
    if not separator:
        if not Path(source).is_dir():
            raise ConfigError(
                f"--follow: '{source}' is no folder; create it, or give an address such as http://host/rows"
            )
        return FolderFeed(Path(source), form)
    parts = urllib.parse.urlsplit(source)
    if scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ConfigError(
            f"--follow: the address (scheme: {scheme}) must be like http://host/rows, without user name and password"
        )
    return WebFeed(source, form)
