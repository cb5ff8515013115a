"""Consoles whose encoding lacks a character: text has `?` in its place, and tables are whole."""

import io
import sys

import pandas as pd
import pytest
from rich.console import Console

from gridcast.cli.main import _replace_what_cannot_be_printed
from gridcast.cli.options import print_csv


@pytest.fixture
def printed(monkeypatch):
    """A function that sets standard output to an encoding and returns its bytes."""

    def stream(encoding):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, write_through=True))
        return raw

    return stream


@pytest.mark.parametrize(("encoding", "expected"), [("ascii", b"Gr??e"), ("cp1252", "Größe".encode("cp1252"))])
def test_what_the_encoding_lacks_is_replaced(printed, encoding, expected):
    raw = printed(encoding)
    _replace_what_cannot_be_printed()
    Console(soft_wrap=True).print("Größe → 売上", markup=False)
    assert raw.getvalue().startswith(expected)
    assert raw.getvalue().rstrip().endswith(b"? ??")


@pytest.mark.parametrize(
    ("encoding", "name", "stored"),
    [("ascii", "Größe", "utf-8"), ("cp1252", "Größe", "cp1252"), ("cp1252", "売", "utf-8")],
)
def test_no_name_of_a_table_is_changed(printed, encoding, name, stored):
    raw = printed(encoding)
    _replace_what_cannot_be_printed()
    print_csv(pd.DataFrame({"product": [name], "forecast": [1.5]}))
    assert raw.getvalue().decode(stored) == f"product,forecast\n{name},1.5\n"
