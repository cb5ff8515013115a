"""Errors of MLflow as one line with a remedy, and which of them may pass."""

import re
import sys

import pytest

from gridcast.runtime.errors import TrackingError, Unreachable
from gridcast.tracking import champion_change
from gridcast.tracking.store import connect, mlflow_errors
from tracking_servers import free_port


@pytest.mark.parametrize(
    ("message", "error_class", "remedy"),
    [
        ("(sqlite3.OperationalError) database is locked", Unreachable, ""),
        ("(sqlite3.OperationalError) database or disk is full", TrackingError, "; free some space there"),
        ("(sqlite3.OperationalError) attempt to write a readonly database", TrackingError, "; make it writable"),
        ("(sqlite3.DatabaseError) database disk image is malformed", TrackingError, "; the file is damaged"),
        ("no such run", TrackingError, ""),
    ],
)
def test_an_error_of_mlflow_becomes_one_line_with_a_remedy(message, error_class, remedy):
    from mlflow.exceptions import MlflowException

    with (
        pytest.raises(TrackingError, match=f"^the-store: {re.escape(message)}{remedy}") as raised,
        mlflow_errors("the-store"),
    ):
        raise MlflowException(f"{message}\nSQL: UPDATE runs", error_code=1000)
    assert type(raised.value) is error_class
    assert "\n" not in str(raised.value)


def test_a_registry_call_on_a_server_that_does_not_answer_raises_unreachable(monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable, match=f"^{uri}: "):
        champion_change.rollback(mlflow.MlflowClient(uri), "retail")


def test_a_store_without_its_driver_is_refused_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(TrackingError, match=r"cannot be opened: .*; run: pip install 'gridcast\[postgres\]'$"):
        connect("postgresql://anna:opensesame@localhost/mlflow")
