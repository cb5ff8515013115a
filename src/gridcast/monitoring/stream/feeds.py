"""Feeds of a stream: CSV files that appear in a folder, or rows that an address returns."""

from __future__ import annotations

import glob
import logging
import time as clock
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from gridcast.monitoring.stream import feed_files, web_answer
from gridcast.monitoring.stream.feed_files import ENDING, NOT_PLAIN, TEMPORARY
from gridcast.monitoring.stream.feed_rows import RowFormat, parse_rows
from gridcast.monitoring.stream.ledger_rows import FileMark
from gridcast.monitoring.stream.web_answer import FeedUnreachable
from gridcast.runtime.errors import ConfigError

UNFINISHED_SECONDS = 5.0
"""Age of a packed file or a Parquet file from which it is reported if it is incomplete; before, it may be written."""
MAX_LISTINGS = 3
"""How often a folder is read at once when files appear in it meanwhile."""
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
    """Files of a folder, each identified by its path in it; rows appended to a file are read when they appear.

    They are those that match the `pattern`, such as `*/pump*.csv`, and are tables by their names or, as those of
    loggers may end in anything, by their first lines. A file is read up to its last line that has ended.
    One whose first bytes are not those that were read was written again, and is read again; so is one that was renamed,
    and its rows that are stored already are ignored. Names that begin with a dot are ignored, so that a file can be
    written under such a name and then renamed.
    """

    path: Path
    form: RowFormat
    pattern: str = "*"
    is_one_file: bool = False
    """The pattern is the name of a file, which is read whatever it holds."""
    unchanged: dict[str, tuple[int, int, FileMark]] = field(default_factory=dict, compare=False)
    """Size and time of change of the files that had nothing new after their marks when they were read last."""
    no_tables: dict[str, tuple[int, int]] = field(default_factory=dict, compare=False)
    """Size and time of change of the files that hold no table."""
    unreadable: dict[str, str] = field(default_factory=dict, compare=False)
    """Why a file could not be read, by its name."""

    @property
    def name(self) -> str:
        """The name for messages."""
        return str(self.path if self.pattern == "*" else self.path / self.pattern)

    def new_batches(self, marks: Mapping[str, FileMark], after: pd.Timestamp | None) -> list[FeedBatch]:  # noqa: ARG002
        """Return what is new since the `marks` (by file name), a batch for each file, the oldest times first.

        `after` is ignored, as it is for addresses. Raises FeedUnreachable where the folder does not exist.
        """
        if not self.path.is_dir():
            raise FeedUnreachable(f"{self.path}: no such folder")
        for _ in range(MAX_LISTINGS):
            paths = self.table_paths()
            batches = [batch for path in paths if (batch := self._read(path, marks)) is not None]
            if self.table_paths() == paths:
                break
            # A file was renamed while it was read, maybe, and has older rows than its successor that was read instead.
        for gone in set(self.unreadable) - {self._label(path) for path in paths}:
            del self.unreadable[gone]
        time = self.form.time
        return sorted(batches, key=lambda batch: batch.rows[time].min() if len(batch.rows) else pd.Timestamp.min)

    def failures(self) -> list[str]:
        """Return why files could not be read, one line for each."""
        return list(self.unreadable.values())

    def other_files(self) -> list[str]:
        """Return the names of the files and folders that are passed over."""
        folders = self.path.iterdir() if self.pattern == "*" and self.path.is_dir() else ()
        return [
            *sorted(self.no_tables),
            *sorted(
                f"{path.name}/*"
                for path in folders
                if path.is_dir()
                and not path.name.startswith(".")
                and any(ENDING.search(one.name) for one in path.iterdir())
            ),
        ]

    def table_paths(self) -> list[Path]:
        """Return the files that are read."""
        return [path for path in self._paths() if self._is_table(path)]

    def _is_table(self, path: Path) -> bool:
        if self.is_one_file or ENDING.search(path.name):
            return True
        if TEMPORARY.search(path.name):
            return False
        name = self._label(path)
        try:
            status = path.stat()
            state = status.st_size, status.st_mtime_ns
            if self.no_tables.get(name) == state or not status.st_size:
                return False
            if feed_files.looks_like_table(path, self.form):
                self.no_tables.pop(name, None)
                return True
        except OSError:  # moved away in the meantime
            return False
        self.no_tables[name] = state
        return False

    def _paths(self) -> list[Path]:
        """The files that match the pattern, without those that are hidden, or in a hidden folder."""
        paths = self.path.glob(self.pattern) if self.path.is_dir() else ()
        return sorted(
            path
            for path in paths
            if not any(part.startswith(".") for part in path.relative_to(self.path).parts) and not path.is_dir()
        )

    def _label(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()

    def _read(self, path: Path, marks: Mapping[str, FileMark]) -> FeedBatch | None:
        name = self._label(path)
        mark = marks.get(name, FileMark())
        try:
            status = path.stat()
            state = status.st_size, status.st_mtime_ns
            if not status.st_size or self.unchanged.get(name) == (*state, mark):
                return None
            content = feed_files.repaired(path.read_bytes())
            self.unreadable.pop(name, None)
            is_plain = not content.startswith(NOT_PLAIN)
            is_fresh = clock.time() - status.st_mtime < UNFINISHED_SECONDS
            if not is_plain and is_fresh and feed_files.is_incomplete(content, path.name):
                return None
            ended = feed_files.ended_lines(content)
            is_waiting = len(ended) < len(content) and not is_fresh
            content = ended
            is_continued = len(content) >= mark.size and mark.digest in (
                "",
                feed_files.digest(content[: mark.size]),
            )
            begin = mark.size if is_continued else 0
            if len(content) == begin:
                self.unchanged[name] = (*state, mark)
                return None
            if not content:
                return None
            before, header = b"", b""
            if is_plain:
                part, header = feed_files.new_lines(content, begin, self.form, mark.header.encode())
                before = content[:begin]
            else:
                part = feed_files.unpacked_lines(content, path.name)
            if not part:
                return None
            is_waiting |= not is_plain and part is not content and not is_fresh
            parsed = parse_rows(part, path.name, self.form, path, before)
            notes = parsed.notes
            if is_waiting:
                notes = (*notes, "the last line has no line break, so it is taken for unfinished and waits for one")
            if not is_continued:
                change = "has become shorter" if len(content) < mark.size else "was written again"
                without = " by its former header, as it has none" if is_plain and len(part) > len(content) else ""
                notes = (f"the file {change}, so it is read again from its start{without}", *notes)
            end = FileMark(len(content), feed_files.digest(content), header.decode(errors="replace"))
            return FeedBatch(name, parsed.rows, mark, end, parsed.unreadable, notes)
        except FileNotFoundError:  # moved away in the meantime
            return None
        except OSError as error:
            if name not in self.unreadable:
                LOG.warning("%s: cannot be read: %s; tried again at the next poll", path, error)
            self.unreadable[name] = f"{path}: cannot be read: {error}"
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

    def failures(self) -> list[str]:
        """Return nothing: an address that cannot be read raises an error."""
        return []

    def other_files(self) -> list[str]:
        """Return no names: an address has one answer."""
        return []

    def new_batches(self, marks: Mapping[str, FileMark], after: pd.Timestamp | None) -> list[FeedBatch]:  # noqa: ARG002
        """Return the rows after the time `after`, as one batch; `marks` are ignored, as they are those of files.

        Raises FeedUnreachable where the address returns no complete response.
        """
        parts = urllib.parse.urlsplit(self.url)
        query = urllib.parse.parse_qsl(parts.query) + ([("after", after.isoformat())] if after is not None else [])
        url = urllib.parse.urlunsplit(parts._replace(query=urllib.parse.urlencode(query)))
        body = web_answer.read_answer(url, self.name)
        parsed = parse_rows(body, self.name, self.form)
        if not len(parsed.rows) and not parsed.unreadable:
            return []
        return [FeedBatch(self.name, parsed.rows, unreadable=parsed.unreadable, notes=parsed.notes)]


def open_feed(source: str, form: RowFormat) -> FolderFeed | WebFeed:
    """Return the feed of a folder, a file, a pattern or an http(s) address, in this `form`. Raises ConfigError."""
    scheme, separator, _ = source.partition("://")
    if not separator:
        return _open_files(Path(source), form)
    parts = urllib.parse.urlsplit(source)
    if scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ConfigError(
            f"--follow: the address (scheme: {scheme}) must be like http://host/rows, without user name and password"
        )
    return WebFeed(source, form)


def _open_files(path: Path, form: RowFormat) -> FolderFeed:
    """The feed of a folder, a file or a pattern. Raises ConfigError."""
    if path.is_dir():
        return FolderFeed(path, form)
    if path.is_file():
        return FolderFeed(path.parent, form, glob.escape(path.name), is_one_file=True)
    magic = next((place for place, part in enumerate(path.parts) if glob.has_magic(part)), None)
    folder = Path(*path.parts[:magic])
    if magic is None or not folder.is_dir():
        raise ConfigError(
            f"--follow: '{path if magic is None else folder}' is no folder and no file; create it, or give a pattern "
            "such as 'plant/*/pump*.csv' or an address such as http://host/rows"
        )
    return FolderFeed(folder, form, Path(*path.parts[magic:]).as_posix())
