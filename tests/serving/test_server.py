"""`gridcast serve` on the command line."""

import os
import signal
import socket
import subprocess
import sys

import pytest
import requests
import warm_python

from gridcast import cli
from gridcast.serving import server
from gridcast.serving.models import loading
from gridcast.serving.settings import TOKEN_VARIABLE
from small_experiments import write_experiment
from small_service import POINT, TOKEN, question
from tracking_servers import free_port, wait


def refused(monkeypatch, capsys, *words, code=2):
    """What `gridcast serve WORDS` says when it does not start."""
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "argv", ["gridcast", "serve", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sales",), "GRIDCAST_ADMIN_TOKEN: is not set"),
        (("sales", "--insecure-local", "--host", "0.0.0.0"), "'0.0.0.0' is not a loopback address"),
        (("sales", "--insecure-local", "--shadow", "other@challenger"), "--shadow: 'other@challenger'"),
        (("sales", "--port", "0"), "port"),
        (("sales", "--insecure-local", "--trusted-proxy", "proxy"), "--trusted-proxy: 'proxy'"),
        (("sales", "--insecure-local", "--root-path", "forecasts"), "--root-path: 'forecasts'"),
        (("sales", "--insecure-local", "--cors-origin", "*"), "--cors-origin: '*'"),
        ((), "Missing argument"),
    ],
)
def test_it_does_not_start_where_something_is_wrong(monkeypatch, capsys, words, said):
    assert said in refused(monkeypatch, capsys, *words)


def test_an_experiment_that_registers_no_model_cannot_be_served(monkeypatch, capsys, tmp_path):
    path = write_experiment(tmp_path / "small.yaml")
    assert "selection.promote_to: is missing" in refused(monkeypatch, capsys, str(path), "--insecure-local")


@pytest.fixture
def no_models(monkeypatch, shop):
    """Loading a model would be an error."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shop.uri)
    monkeypatch.setattr(loading, "load_in_subprocess", None)


def test_a_port_in_use_is_said_in_one_line_before_the_models_are_loaded(monkeypatch, capsys, no_models):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        said = refused(monkeypatch, capsys, POINT, "--insecure-local", "--port", port, code=1)
    assert said.count("\n") == 1
    assert said.startswith(f"error: 127.0.0.1:{port} is in use by another program")


def test_models_never_find_the_admin_token_in_the_environment(monkeypatch, no_models):
    served = []
    monkeypatch.setattr(server, "serve", lambda settings, *_, **__: served.append((settings.token, dict(os.environ))))
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    monkeypatch.setattr(sys, "argv", ["gridcast", "serve", POINT, "--trusted-proxy", "10.0.0.0/8", "--seconds", "5"])
    with pytest.raises(SystemExit):
        cli.main()
    ((token, environment),) = served
    assert token == TOKEN
    assert TOKEN not in environment.values()


@pytest.mark.slow
def test_it_serves_the_champion_of_an_experiment_until_it_is_stopped(shop, tmp_path):
    path = write_experiment(tmp_path / "small.yaml", selection={"promote_to": POINT})
    port = free_port()
    command = [sys.executable, "-m", "gridcast.cli", "serve", str(path), "--insecure-local", "--port", str(port)]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": shop.uri, TOKEN_VARIABLE: ""}
    process = warm_python.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)

    def ready():
        try:
            return requests.get(f"http://127.0.0.1:{port}/", timeout=5).ok
        except requests.ConnectionError:
            return process.poll() is not None

    wait(ready, 60, "no answer")
    answer = requests.post(f"http://127.0.0.1:{port}/predict", json=question(), timeout=30)
    assert answer.status_code == 200
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert all(line.startswith("{") for line in said.splitlines())
