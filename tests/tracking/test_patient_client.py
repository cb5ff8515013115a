"""A tracking server that refuses access for a moment ends nothing; one that goes on refusing is named."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2

from gridcast.runtime.errors import TrackingError, Unreachable
from gridcast.tracking import patient_client
from gridcast.tracking.patient_client import PATIENCE_SECONDS, PatientClient
from gridcast.tracking.store import mlflow_errors

URI = "http://anna:open@host:5000"


def refusal(status: int) -> Exception:
    """What MLflow raises for the answer of an artifact store, or of the tracking server."""
    if status == 403:
        response = requests.Response()
        response.status_code = status
        return requests.HTTPError("403 Client Error", response=response)
    code = {401: databricks_pb2.UNAUTHENTICATED, 404: databricks_pb2.RESOURCE_DOES_NOT_EXIST}[status]
    return MlflowException("no", error_code=code)


class Server:
    """A client whose server refuses the first `refusals` calls, with a clock that only sleep moves."""

    tracking_uri = URI

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refusals: int, status: int) -> None:
        self.refusals, self.status, self.calls, self.now = refusals, status, 0, 0.0
        monkeypatch.setattr(patient_client, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep))

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def set_tag(self, run_id: str, *, value: str) -> str:
        self.calls += 1
        if self.calls <= self.refusals:
            raise refusal(self.status)
        return f"{run_id} {value}"


@pytest.mark.parametrize("status", [401, 403])
def test_a_momentary_refusal_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    server = Server(monkeypatch, 3, status)
    client: Any = PatientClient(server, URI)
    with caplog.at_level(logging.WARNING, "gridcast"):
        assert client.set_tag("run", value="x") == "run x"
    assert server.calls == 4
    assert [record.getMessage() for record in caplog.records] == [
        f"http://host:5000: refuses access (HTTP {status}); tried again for 30 s"
    ]
    assert client.tracking_uri == URI


@pytest.mark.parametrize("status", [401, 403])
def test_a_lasting_refusal_is_an_error_that_names_the_remedy(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    server = Server(monkeypatch, 1000, status)
    with pytest.raises(TrackingError, match=rf"\(HTTP {status}\); see user and password") as ended, mlflow_errors(URI):
        PatientClient(server, URI).set_tag("run", value="x")
    assert not isinstance(ended.value, Unreachable)  # which would be waited for without end
    assert "open" not in str(ended.value)
    assert 0.4 * PATIENCE_SECONDS < server.now <= PATIENCE_SECONDS


def test_other_errors_are_raised_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(monkeypatch, 1, 404)
    with pytest.raises(MlflowException):
        PatientClient(server, URI).set_tag("run", value="x")
    assert server.calls == 1


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "No such file", "mlruns/1"), OSError("No such artifact: model")]
)
def test_artifacts_that_are_gone_are_an_error_with_a_remedy(error: OSError) -> None:
    with pytest.raises(TrackingError, match="artifacts are missing.* put mlruns back"), mlflow_errors(URI):
        raise error


def test_a_full_disk_is_not_taken_for_missing_artifacts() -> None:
    with pytest.raises(OSError, match="No space"), mlflow_errors(URI):
        raise OSError(28, "No space left on device")
