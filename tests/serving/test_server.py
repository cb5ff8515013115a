"""`gridcast serve` on the command line."""

import os
import signal
import subprocess
import sys

import pytest
import requests
import warm_python

from gridcast import cli
from gridcast.serving.settings import TOKEN_VARIABLE
from small_experiments import write_experiment
from small_service import POINT, question
from tracking_servers import free_port, wait


def refused(monkeypatch, capsys, *words):
    """What `gridcast serve WORDS` says when it does not start."""
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "argv", ["gridcast", "serve", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sales",), "GRIDCAST_ADMIN_TOKEN: is not set"),
        (("sales", "--insecure-local", "--host", "0.0.0.0"), "'0.0.0.0' is not a loopback address"),
        (("sales", "--insecure-local", "--shadow", "other@challenger"), "--shadow: 'other@challenger'"),
        (("sales", "--port", "0"), "port"),
        ((), "Missing argument"),
    ],
)
def test_it_does_not_start_where_something_is_wrong(monkeypatch, capsys, words, said):
    assert said in refused(monkeypatch, capsys, *words)


def test_an_experiment_that_registers_no_model_cannot_be_served(monkeypatch, capsys, tmp_path):
    path = write_experiment(tmp_path / "small.yaml")
    assert "selection.promote_to: is missing" in refused(monkeypatch, capsys, str(path), "--insecure-local")


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
