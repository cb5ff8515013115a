"""The content of a file: from disk or an address, decompressed, and what kind of file it is by its first bytes."""

from __future__ import annotations

import gzip
import io
import lzma
import stat
import zipfile
import zlib
from pathlib import Path
from typing import Any, Literal

from gridcast.runtime.errors import DataError

Kind = Literal["text", "parquet", "excel"]
GZIP, XZ, ZIP, PARQUET, OLD_EXCEL = b"\x1f\x8b", b"\xfd7zXZ\x00", b"PK\x03\x04", b"PAR1", b"\xd0\xcf\x11\xe0"
EXCEL_MEMBER = "xl/workbook.xml"
UNPACKING_ERRORS = (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile)
"""Exceptions of `decompressed` for a damaged or incomplete file, beside DataError."""
DATABASES = ("postgresql", "sqlite", "mysql", "mariadb", "mssql", "oracle", "duckdb", "snowflake", "bigquery")


def scheme_of(source: str) -> str:
    """Return what stands before `://` in an address, in lower case; an empty string for a path."""
    scheme, separator, _ = source.partition("://")
    return scheme.lower() if separator else ""


def is_database(source: str) -> bool:
    """Whether `source` is the address of a database, such as postgresql+psycopg://host/name."""
    return scheme_of(source).split("+")[0] in DATABASES


def shown(source: str) -> str:
    """Return `source` as it may be shown: an address without its password and its query."""
    scheme, separator, rest = source.partition("://")
    if not separator:
        return source
    host = rest.partition("?")[0]
    user, at, address = host.rpartition("@")
    return f"{scheme}://{user.partition(':')[0]}{at}{address}"


def read_bytes(path: str) -> bytes:
    """Return the content of the file at `path` or address, decompressed if it is compressed. Raises DataError."""
    try:
        return decompressed(_raw_bytes(path), path)
    except UNPACKING_ERRORS as error:
        raise DataError(f"{shown(path)}: cannot be read: {_without_address(error, path)}") from None


def kind_of(path: str) -> Kind:
    """Return what kind of file is at `path` or address, by its first bytes. Raises DataError."""
    try:
        if scheme_of(path):
            return kind_of_content(read_bytes(path), path)
        _require_file(path)
        with Path(path).open("rb") as file:
            start = file.read(len(XZ))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    return kind_of_content(read_bytes(path) if start.startswith((GZIP, XZ, ZIP)) else start, path)


def _require_file(path: str) -> None:
    """Raise DataError for a device or a pipe, which have no end, or cannot be read twice."""
    mode = Path(path).stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # reading a folder raises an error of its own
        raise DataError(f"{path}: is a device or a pipe; save its content as a file, and name that")


def kind_of_content(content: bytes, path: str) -> Kind:
    """Return what kind of file `content` is, by its first bytes. Raises DataError for one that cannot be read."""
    if content.startswith(PARQUET):
        return "parquet"
    if content.startswith(OLD_EXCEL):
        raise DataError(f"{path}: is a workbook of an old Excel (.xls); save it as .xlsx or as CSV")
    return "excel" if content.startswith(ZIP) else "text"


def _raw_bytes(path: str) -> bytes:
    if not scheme_of(path):
        _require_file(path)
        return Path(path).read_bytes()
    import fsspec

    try:
        with fsspec.open(path, "rb") as file:
            return bytes(file.read())
    except ImportError as error:
        raise DataError(f"{shown(path)}: needs another package: {error}") from None
    except ValueError as error:  # an unknown scheme
        raise DataError(f"{shown(path)}: cannot be read: {_without_address(error, path)}") from None
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - every file system has exceptions of its own
        raise DataError(f"{shown(path)}: cannot be read: {_without_address(error, path)}") from None


def decompressed(content: bytes, path: str) -> bytes:
    """Return `content` as it was before it was compressed, by its first bytes. Raises DataError."""
    if content.startswith(GZIP):
        return gzip.decompress(content)
    if content.startswith(XZ):
        return lzma.decompress(content)
    return _unzipped(content, path) if content.startswith(ZIP) else content


def _unzipped(content: bytes, path: str) -> bytes:
    """The only file of a zip archive; a workbook, which is such an archive too, as it is."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
        if EXCEL_MEMBER in members:
            return content
        if len(members) != 1:
            raise DataError(
                f"{path}: holds {len(members)} files ({', '.join(members[:5])}); unpack it, and give one, or a pattern "
                "such as folder/*.csv"
            )
        try:
            return archive.read(members[0])
        except RuntimeError as error:  # encrypted
            raise DataError(f"{path}: cannot be unpacked: {error}") from None


def _without_address(error: Any, path: str) -> str:
    return str(error).replace(path, shown(path)) or type(error).__name__
