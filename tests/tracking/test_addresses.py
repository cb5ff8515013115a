"""No message shows a password, and an address with an unusual one works."""

import pytest

from gridcast.tracking.addresses import readable_address, split_credentials, without_credentials

MASKED = {
    "http://anna:open@host:5000/x: no answer": "http://host:5000/x: no answer",
    "'http://anna:open/sesame@host'": "'http://host'",
    "http://anna:12/34@127.0.0.1:5000/api": "http://127.0.0.1:5000/api",
    "postgresql+psycopg://anna:a/b@c@db.example/runs": "postgresql+psycopg://db.example/runs",
    "postgresql://db/runs?user=anna&password=open&x=1": "postgresql://db/runs?user=anna&password=***&x=1",
    "http://token@host/": "http://host/",
    "http://anna:open@[::1]:5000": "http://[::1]:5000",
    "see https://host/x@y": "see https://host/x@y",
    "http://localhost:5000/#/experiments/1": "http://localhost:5000/#/experiments/1",
    "mail anna@host.example: https://host.example/?to=a:b@c.example": "mail anna@host.example: "
    "https://host.example/?to=a:b@c.example",
}


@pytest.mark.parametrize("text", MASKED)
def test_user_and_password_are_left_out(text):
    assert without_credentials(text) == MASKED[text]


@pytest.mark.parametrize("password", ["open sesame", "p@s/s", "a:b?c#d", "e@f"])
def test_the_password_of_the_store_is_left_out_whatever_it_is(monkeypatch, password):
    uri = f"http://anna:{password}@host/x"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert without_credentials(f"error: {uri}/api failed") == "error: http://host/x/api failed"


def test_an_address_with_a_slash_in_its_password_is_made_readable():
    uri = "http://anna:12/3@127.0.0.1:5000/x"
    assert readable_address(uri) == "http://anna:12%2F3@127.0.0.1:5000/x"
    assert split_credentials(uri) == split_credentials(readable_address(uri))
    assert split_credentials(uri) == ("http://127.0.0.1:5000/x", "anna:12/3")
    for plain in ("http://anna:a%2Fb@host:5000", "http://localhost:5000/x@y", "sqlite:///mlflow.db", "./mlruns"):
        assert readable_address(plain) == plain
