"""Errors of MLflow as one line with a remedy, and which of them may pass."""

import re
import sys
from pathlib import Path

import pytest

from gridcast.runtime.errors import TrackingError, Unreachable
from gridcast.tracking import champion_change, sqlite_store
from gridcast.tracking.store import connect, mlflow_errors, open_store
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


def test_stores_are_the_same_whether_their_tables_are_made_or_copied(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    for project in ("made", "copied", "made where the kept tables are damaged"):
        (tmp_path / project).mkdir()
        monkeypatch.chdir(tmp_path / project)
        store = open_store("sales", f"sqlite:///{Path.cwd()}/mlflow.db")
        places = {one.name: one.artifact_location for one in store.client.search_experiments()}
        assert places == {"Default": f"{Path.cwd()}/mlruns/0", "sales": f"{Path.cwd()}/mlruns/1"}
        assert sqlite_store.schema_problem(Path("mlflow.db")) is None
        (tables,) = (cache / "gridcast").iterdir()
        assert (sqlite_store.find_damage(tables), sqlite_store.row_count(tables, "experiments")) == ("", 0)
        if project == "copied":
            tables.write_bytes(tables.read_bytes()[:5000])
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert not sqlite_store.copy_tables(tmp_path / "new.db")
    sqlite_store.keep_tables(Path("mlflow.db"))  # keeps nothing, and fails no sweep
