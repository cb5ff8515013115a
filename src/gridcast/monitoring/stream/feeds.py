"""Feeds of a stream: CSV files that appear in a folder, or rows that an address returns."""

from __future__ import annotations

import hashlib
import http.client
import logging
import time as clock
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from gridcast.data import file_bytes
from gridcast.monitoring.stream.feed_rows import RowFormat, parse_rows
from gridcast.monitoring.stream.ledger import FileMark
from gridcast.runtime.errors import ConfigError, DataError, GridcastError

UNFINISHED_LINE_SECONDS = 5.0
"""Age of a file from which its last line counts even without a line break; before, a writer may be at work."""
FEED_TIMEOUT = 20.0
"""Seconds to wait for an address."""
ENDINGS = (
    *(f"{kind}{packed}" for kind in (".csv", ".tsv") for packed in ("", ".gz", ".xz", ".zip")),
    *(".xlsx", ".parquet"),
)
"""Endings of the names of files that are read, in any case."""
NOT_PLAIN = (b"\x1f\x8b", b"\xfd7zXZ", b"PK", b"\xff\xfe", b"\xfe\xff", b"PAR1", b"\xd0\xcf\x11\xe0")
"""First bytes of files that are no text, or UTF-16: they are read as a whole."""
HEADER_BYTES = 2**16
PARQUET = b"PAR1"
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeedBatch:
    """Rows that were read at once, as text except for the time column, which is parsed.

    `source` is the file or the address. A file was read up to the mark `begin` before and is now up to `end`.
    `unreadable` rows are not among `rows`; `notes` say what is wrong with them.
    """

    source: str
    rows: pd.DataFrame
    begin: FileMark | None = None
    end: FileMark | None = None
    unreadable: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FolderFeed:
    """CSV files of a folder, each identified by its name; rows appended to a file are read when they appear.

    A file is read up to its last complete line. One whose first bytes are not those that were read was written again,
    and is read again. Names that begin with a dot are ignored, so that a file can be written under such a name and then
    renamed.
    """

    path: Path
    form: RowFormat
    unchanged: dict[str, tuple[int, int]] = field(default_factory=dict, compare=False)
    """Size and time of change of the files that had nothing new when they were read last."""

    @property
    def name(self) -> str:
        """The name for messages."""
        return str(self.path)

    def new_batches(self, marks: Mapping[str, FileMark], after: pd.Timestamp | None) -> list[FeedBatch]:  # noqa: ARG002
        """Return what is new since the `marks` (by file name), a batch for each file, the oldest times first.

        `after` is ignored, as it is for addresses. Raises GridcastError where the folder does not exist.
        """
        if not self.path.is_dir():
            raise GridcastError(f"{self.path}: no such folder")
        paths = sorted(path for path in self.path.glob("[!.]*") if path.name.lower().endswith(ENDINGS))
        batches = [batch for path in paths if (batch := self._read(path, marks.get(path.name, FileMark()))) is not None]
        time = self.form.time
        return sorted(batches, key=lambda batch: batch.rows[time].min() if len(batch.rows) else pd.Timestamp.min)

    def other_files(self) -> list[str]:
        """Return the names of the files that are passed over, as their names end otherwise."""
        paths = sorted(self.path.glob("[!.]*")) if self.path.is_dir() else []
        return [path.name for path in paths if path.is_file() and not path.name.lower().endswith(ENDINGS)]

    def _read(self, path: Path, mark: FileMark) -> FeedBatch | None:
        try:
            status = path.stat()
            state = status.st_size, status.st_mtime_ns
            if not status.st_size or (self.unchanged.get(path.name) == state and status.st_size == mark.size):
                return None
            content = path.read_bytes()
            is_plain = not content.startswith(NOT_PLAIN)
            is_fresh = clock.time() - status.st_mtime < UNFINISHED_LINE_SECONDS
            if is_fresh and is_plain:
                content = content[: content.rfind(b"\n") + 1]
            elif is_fresh and self._is_incomplete(content, path.name):
                return None
            is_continued = len(content) >= mark.size and mark.digest in ("", _digest(content[: mark.size]))
            begin = mark.size if is_continued else 0
            if len(content) == begin:
                self.unchanged[path.name] = state
                return None
            if not content:
                return None
            part = self._new_part(content, begin) if is_plain else content
            before = content[:begin] if is_plain else b""
            parsed = parse_rows(part, path.name, self.form, path, before)
            notes = parsed.notes
            if not is_continued:
                change = "has become shorter" if len(content) < mark.size else "was written again"
                notes = (f"the file {change}, so it is read again from its start", *notes)
            end = FileMark(len(content), _digest(content))
            return FeedBatch(path.name, parsed.rows, mark, end, parsed.unreadable, notes)
        except FileNotFoundError:  # moved away in the meantime
            return None
        except OSError as error:
            LOG.warning("%s: cannot be read: %s; tried again at the next poll", path, error)
            return None

    def _is_incomplete(self, content: bytes, name: str) -> bool:
        """Whether a file that is no text seems to be still written."""
        if content.startswith(PARQUET):
            return len(content) < 2 * len(PARQUET) or not content.endswith(PARQUET)
        try:
            file_bytes.decompressed(content, name)
        except file_bytes.UNPACKING_ERRORS:
            return True
        except DataError:  # which the parser reports
            return False
        return False

    def _new_part(self, content: bytes, begin: int) -> bytes:
        """The header that counts for the lines of a file after its first `begin` bytes, and these lines."""
        end = 0
        try:
            header = self.form.find_header(content[:HEADER_BYTES], self.path.name)
        except DataError:  # which the parser reports
            return content
        for _ in range(header.line):
            end = content.find(b"\n", end) + 1
        # A file may have been read before when it had no more than a part of its header.
        if begin < end or not end:
            return content
        further = self._further_header(content, header.separator, end, begin)
        return (content[:end] if further is None else further) + content[begin:]

    def _further_header(self, content: bytes, separator: str, start: int, end: int) -> bytes | None:
        """The last line between the bytes `start` and `end` that names columns."""
        name = self.form.time.encode()
        position = content.rfind(name, start, end)
        while position >= 0:
            first, last = content.rfind(b"\n", 0, position) + 1, content.find(b"\n", position) + 1
            fields = content[first:last].decode(errors="replace").replace('"', "").strip().split(separator)
            if self.form.is_header(fields):
                return content[first:last]
            position = content.rfind(name, start, first)
        return None


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

    def other_files(self) -> list[str]:
        """Return no names: an address has one answer."""
        return []

    def new_batches(self, marks: Mapping[str, FileMark], after: pd.Timestamp | None) -> list[FeedBatch]:  # noqa: ARG002
        """Return the rows after the time `after`, as one batch; `marks` are ignored, as they are those of files.

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


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


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
