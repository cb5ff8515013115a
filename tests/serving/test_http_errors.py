"""Messages say where and what, and hide what was sent."""

import pytest

from gridcast.serving.http_errors import field_path, from_table_error, redact

KNOWN = {"date", "product", "quantity", "price", "apple"}


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        (
            "line 3, column 'quantity': 'secret' is not a number; correct it, or leave the field empty",
            "line 3, column 'quantity'",
            "'…' is not a number; correct it, or leave the field empty",
        ),
        (
            "line 3, column 'quantity': 'it's 'quantity' secret' is not a number; correct it",
            "line 3, column 'quantity'",
            "'…' is not a number; correct it",
        ),
        (
            "line 1: no column 'quantity' (data.target); did you mean 'secret'? (the file has: a, secret')",
            "line 1",
            "no column 'quantity' (data.target); did you mean '…'?",
        ),
        (
            "series 'secret' was not in the training data; did you mean 'apple'?",
            "file",
            "series '…' was not in the training data; did you mean 'apple'?",
        ),
        ("column 'price', row 5: infinite value", "column 'price', row 5", "infinite value"),
        ("row 7: series 'apple' at 2023-01-02 occurs twice", "row 7", "series 'apple' at 2023-01-02 occurs twice"),
        ("column 'secret': x", "file", "column '…': x"),
        ("the file is empty; give one", "file", "the file is empty; give one"),
        ("column 'price': Unable to parse \"secret\" at 3", "column 'price'", "Unable to parse '…' at 3"),
    ],
)
def test_a_message_of_gridcast_keeps_its_place_and_loses_what_was_sent(text, where, message):
    error = from_table_error(text, KNOWN, "file")
    assert (error.where, error.message) == (where, message)
    assert error.status == 422


VALUES = ["a'b", "'", "''", "a' or 'b", 'a"b', "\0", "x\0" + "0\0", "line\n'break", "'apple' secret"]


@pytest.mark.parametrize("value", VALUES)
def test_no_value_comes_through_however_it_is_quoted(value):
    shown = redact(f"'{value}' is not a number", KNOWN)
    assert "secret" not in shown
    assert shown.endswith("' is not a number")
    assert set(shown.removesuffix(" is not a number")) <= set("'…") | set("'apple'")


def test_a_place_shows_the_words_that_are_known():
    assert (
        field_path(("series", 0, "history", 3, "value"), {"series", "history", "value"}) == "series[0].history[3].value"
    )
    assert field_path(("series", 0, "secret"), {"series"}) == "series[0].…"
