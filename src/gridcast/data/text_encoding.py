"""From the bytes of a text file to UTF-8, whatever its encoding."""

from __future__ import annotations

import codecs

from gridcast.runtime.errors import DataError

BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: ("utf-8", "UTF-8"),
    codecs.BOM_UTF32_LE: ("utf-32-le", "UTF-32"),
    codecs.BOM_UTF32_BE: ("utf-32-be", "UTF-32"),
    codecs.BOM_UTF16_LE: ("utf-16-le", "UTF-16"),
    codecs.BOM_UTF16_BE: ("utf-16-be", "UTF-16"),
}
"""Encodings and their names by the mark that a file begins with; the longer of two similar ones comes first."""


def to_utf8(raw: bytes, path: str, encoding: str | None = None, *, settable: bool = True) -> tuple[bytes, str]:
    """Return `raw` in UTF-8 with newlines as the only line ends, and the name of its encoding.

    `encoding` is what the experiment file states. Raises DataError for binary data, mixed encodings, and bytes that the
    stated encoding does not have.
    """
    text, name = _decoded(raw, path, encoding, settable=settable)
    text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in text else text
    # Files that were joined have the mark of each at the start of its first line.
    return text.replace(b"\n" + codecs.BOM_UTF8, b"\n") if codecs.BOM_UTF8 in text else text, name


def unmarked_utf16(raw: bytes) -> str | None:
    """Return the encoding of UTF-16 text without a byte order mark, None for anything else."""
    head = raw[:4096]
    for start, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros = head[start::2]
        if zeros.count(0) > 0.8 * len(zeros) and head[1 - start :: 2].count(0) < 0.2 * len(zeros):
            return encoding
    return None


def _decoded(raw: bytes, path: str, encoding: str | None, *, settable: bool) -> tuple[bytes, str]:
    for mark, (marked, name) in BYTE_ORDER_MARKS.items():
        if raw.startswith(mark):
            return _transcoded(raw[len(mark) :], marked, path), name
    if encoding is not None:
        return _transcoded(raw, encoding, path), encoding
    if b"\0" in raw[:4096]:
        raise DataError(f"{path}: {_binary_fault(raw, settable=settable)}")
    if raw.isascii():
        return raw, "UTF-8"
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return _one_byte_text(raw, path, settable=settable)
    return raw, "UTF-8"


def _binary_fault(raw: bytes, *, settable: bool) -> str:
    if (encoding := unmarked_utf16(raw)) is not None:
        remedy = f"write data.encoding: {encoding}" if settable else "save it as UTF-8"
        return f"seems to be UTF-16 text without a byte order mark; {remedy}"
    return "holds binary data; give a CSV, Excel (.xlsx) or Parquet file"


def _transcoded(raw: bytes, encoding: str, path: str) -> bytes:
    try:
        return raw.decode(encoding).removeprefix("\ufeff").encode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line}: is not text in the encoding {encoding}; correct data.encoding, or save the file as "
            "UTF-8"
        ) from None


def _one_byte_text(raw: bytes, path: str, *, settable: bool) -> tuple[bytes, str]:
    """Text that is not UTF-8 in Windows-1252 or, where that has no such byte, Latin-1. Raises DataError for a mixture.

    In a mixture some lines are UTF-8 beyond ASCII: read as Windows-1252, their letters would become two others.
    """
    first: dict[bool, tuple[int, bytes]] = {}
    for number, line in enumerate(raw.splitlines(), start=1):
        if not line.isascii():
            try:
                line.decode("utf-8")
                first.setdefault(True, (number, line))
            except UnicodeDecodeError:
                first.setdefault(False, (number, line))
        if len(first) == 2:
            (utf8, _), (other, text) = first[True], first[False]
            remedy = "write data.encoding: windows-1252 if all of it is, or " if settable else ""
            raise DataError(
                f"{path}, line {other}: '{text.decode('cp1252', 'replace')[:60]}' is in another encoding than line "
                f"{utf8}, which is UTF-8; {remedy}save the whole file as UTF-8"
            )
    try:
        return raw.decode("cp1252").encode(), "Windows-1252"
    except UnicodeDecodeError:
        return raw.decode("latin-1").encode(), "Latin-1"
