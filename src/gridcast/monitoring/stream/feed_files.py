"""The content of a file of a feed: whether it is a table, and how far it is written."""

from __future__ import annotations

import codecs
import hashlib
import re
from pathlib import Path

from gridcast.data import file_bytes, text_encoding
from gridcast.monitoring.stream.feed_rows import RowFormat
from gridcast.runtime.errors import DataError

ENDING = re.compile(r"\.((csv|tsv)([.-]\d[\d._T-]*)?(\.gz|\.xz|\.zip)?([.-]\d[\d._T-]*)?|xlsx|parquet)$", re.IGNORECASE)
"""End of the names of files that are read; loggers add a number or a date when they begin a new file."""
TEMPORARY = re.compile(r"(~|\.(tmp|temp|part|partial|filepart|crdownload|swp|lock))$", re.IGNORECASE)
"""End of the names of files that another program is writing."""
NOT_PLAIN = (b"\x1f\x8b", b"\xfd7zXZ", b"PK", b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff", b"PAR1", b"\xd0\xcf\x11\xe0")
"""First bytes of files that are no text, or UTF-16 or UTF-32: they are read as a whole."""
HEADER_BYTES = 2**16
HOLE = rb"\0{8,}"
"""Bytes that were never written: reserved ones, or lost ones before which a writer went on."""
PARQUET = b"PAR1"


def digest(content: bytes) -> str:
    """Return a fingerprint of the `content`."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def looks_like_table(path: Path, form: RowFormat) -> bool:
    """Whether a file whose name does not say so is a table: one of its first lines names the column of time."""
    try:
        with path.open("rb") as file:
            content = file.read(HEADER_BYTES)
        if content.startswith((file_bytes.GZIP, file_bytes.XZ, file_bytes.ZIP)):
            content = file_bytes.decompressed(path.read_bytes(), path.name)
        if file_bytes.kind_of_content(content, path.name) != "text":
            return True
        head = repaired(content)[:HEADER_BYTES]
        text = head.decode(encoding_of(head), "ignore").removeprefix("\ufeff")
    except (DataError, LookupError, *file_bytes.UNPACKING_ERRORS):
        return False
    if text.lstrip()[:1] in ("[", "{"):
        return f'"{form.time}"' in text
    lines = re.split(r"[\r\n]+", text)[:50]
    return any(form.is_header([name.strip(" \"'#") for name in re.split(r"[,;\t|]", line)]) for line in lines)


def encoding_of(content: bytes) -> str:
    """Return the encoding of text by the mark that it begins with; UTF-8 without one."""
    marks = text_encoding.BYTE_ORDER_MARKS.items()
    return next((name for mark, (name, _) in marks if content.startswith(mark)), "utf-8")


def repaired(content: bytes) -> bytes:
    """Return text without holes, and with the mark of UTF-16 where it lacks that; any other content as it is.

    A line in which a hole begins ends in a question mark, so that a part of a number is not taken for all of it.
    """
    if content.startswith(NOT_PLAIN) or b"\0" not in content:
        return content
    if (encoding := text_encoding.unmarked_utf16(content)) is not None:
        return (codecs.BOM_UTF16_LE if encoding == "utf-16-le" else codecs.BOM_UTF16_BE) + content
    filled = re.sub(rb"(?<=[^\r\n\0])" + HOLE, b"?\n", content.strip(b"\0"))
    return re.sub(HOLE, b"\n", filled)


def ended_lines(content: bytes) -> bytes:
    """Return text up to its last line break, however old it is: writers hold back parts of lines; other files whole."""
    encoding = encoding_of(content)
    if encoding.startswith(("utf-16", "utf-32")):
        mark = next(mark for mark in text_encoding.BYTE_ORDER_MARKS if content.startswith(mark))
        unit = 4 if "32" in encoding else 2
        text = content[len(mark) : len(content) // unit * unit].decode(encoding, "replace")
        return content[: len(mark) + len(text[: _end_of_lines(text)].encode(encoding))]
    if content.startswith(NOT_PLAIN):
        return content
    if content.lstrip()[:1] in (b"[", b"{") and content.rstrip()[-1:] in (b"]", b"}"):
        return content
    return content[: max(content.rfind(b"\n"), content.rfind(b"\r")) + 1]


def _end_of_lines(text: str) -> int:
    return max(text.rfind("\n"), text.rfind("\r")) + 1


def unpacked_lines(content: bytes, name: str) -> bytes:
    """Return packed text up to its last line break, if more follows; any other file as it is, for the parser.

    A logger that packs what it writes ends a member of the file where it likes, also within a number.
    """
    if not content.startswith((file_bytes.GZIP, file_bytes.XZ)):
        return content
    try:
        text = file_bytes.decompressed(content, name)
    except (*file_bytes.UNPACKING_ERRORS, DataError):
        return content
    ended = ended_lines(text)
    return content if len(ended) == len(text) else ended


def is_incomplete(content: bytes, name: str) -> bool:
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


def new_lines(content: bytes, begin: int, form: RowFormat, former_header: bytes) -> tuple[bytes, bytes]:
    """Return the lines of text after its first `begin` bytes below their header, and the header that counts at its end.

    Where the file begins with values, as a logger leaves it that empties its file, that is the `former_header`.
    """
    end = 0
    try:
        header = form.find_header(content[:HEADER_BYTES], "")
    except DataError:  # which the parser reports
        if not _continues(content, former_header, form):
            return content, b""
        separator = form.find_header(former_header, "").separator
        return former_header + content[begin:], (
            _further_header(content, separator, form, 0, len(content)) or former_header
        )
    for _ in range(header.line):
        end = content.find(b"\n", end) + 1
    last = _further_header(content, header.separator, form, end, len(content)) if end else None
    # A file may have been read before when it had no more than a part of its header.
    if begin < end or not end:
        return content, last or content[:end]
    further = _further_header(content, header.separator, form, end, begin)
    return (content[:end] if further is None else further) + content[begin:], last or content[:end]


def _continues(content: bytes, header: bytes, form: RowFormat) -> bool:
    """Whether the first line has as many fields as the `header` of what the file held before."""
    if not header:
        return False
    sign = form.find_header(header, "").separator.encode()
    return content.partition(b"\n")[0].count(sign) == header.rstrip().rpartition(b"\n")[2].count(sign)


def _further_header(content: bytes, separator: str, form: RowFormat, start: int, end: int) -> bytes | None:
    """The last line between the bytes `start` and `end` that names columns."""
    name = form.time.encode()
    position = content.rfind(name, start, end)
    while position >= 0:
        first, last = content.rfind(b"\n", 0, position) + 1, content.find(b"\n", position) + 1
        fields = content[first:last].decode(errors="replace").replace('"', "").strip().split(separator)
        if form.is_header(fields):
            return content[first:last]
        position = content.rfind(name, start, first)
    return None
