"""The command line as a whole: help, suggestions, and what commands that only read leave behind."""

import functools
import io
import logging
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import typer

from gridcast import cli
from gridcast.api.folders import cache_if_present
from gridcast.cli import doctor, terminal
from gridcast.cli.app import MaskingConsole
from gridcast.sweep import time_estimate
from gridcast.sweep.confirmation import ConfirmationPlan
from small_experiments import sales, write_experiment

GROUP = typer.main.get_command(cli.app)
VERBS = {
    **{(name,): command for name, command in GROUP.commands.items()},
    **{("simulate", name): command for name, command in GROUP.commands["simulate"].commands.items()},
}
SECRET = "postgresql://anna:opensesame@db.example.org/mlflow"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture
def gridcast(monkeypatch, capsys):
    """Run the command in this process; returns exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gridcast", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


# Help


def test_the_verbs_are_those_that_there_were():
    assert [" ".join(words) for words in VERBS] == [
        *("new", "schema", "validate", "plan", "run", "report", "promote", "rollback", "predict", "backtest"),
        *("monitor", "serve", "detect", "recalibrate", "examples", "doctor"),
        *("simulate", "simulate sensors", "simulate plant"),
    ]


@pytest.mark.parametrize("words", VERBS)
def test_the_first_sentence_of_a_verb_is_short_and_whole(words):
    first = VERBS[words].help.split("\n")[0]
    assert re.fullmatch(r"[A-Z][^.]+\.", first)
    assert len(first) < 60


@pytest.mark.parametrize("words", VERBS)
def test_every_verb_has_its_help_under_both_names(words, gridcast):
    (code, short, err), (_, long, _) = gridcast(*words, "-h"), gridcast(*words, "--help")
    assert (code, err) == (0, "")
    assert short == long
    assert short.startswith(f"Usage: gridcast {' '.join(words)}")


@pytest.mark.parametrize("words", VERBS)
def test_every_option_and_argument_has_a_help_text(words):
    assert [param.name for param in VERBS[words].params if param.name != "help" and not param.help] == []


def test_the_list_of_verbs_is_not_cut(gridcast):
    code, out, err = gridcast("-h")
    assert (code, err) == (0, "")
    assert "..." not in out.partition("Commands:")[2]


@pytest.mark.parametrize("words", [(), ("simulate",)])
def test_without_a_verb_the_help_is_printed_and_all_is_well(words, gridcast):
    assert gridcast(*words) == gridcast(*words, "--help")


@pytest.mark.parametrize("module", ["gridcast", "gridcast.cli"])
def test_the_package_is_the_command_too(module, folder):
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"gridcast \d+\.\d+\.\d+\n", done.stdout)
    assert done.stderr == ""
    assert list(folder.iterdir()) == []


# Wrong command lines


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rnu", "a.yaml"], "error: No such command 'rnu'. Did you mean 'run'?\nSee `gridcast -h`.\n"),
        (["simulate", "plnt"], "error: No such command 'plnt'. Did you mean 'plant'?\nSee `gridcast simulate -h`.\n"),
        (["xyz"], "error: No such command 'xyz'.\nSee `gridcast -h`.\n"),
        (
            ["run", "a", "--wrkers", "2"],
            "error: No such option: --wrkers; did you mean '--workers'?\nSee `gridcast run",
        ),
        (["predict", "m", "h.csv", "--horizn", "2"], "error: No such option: --horizn; did you mean '--horizon'?\n"),
        (["plan"], "error: Missing argument 'experiment'.\nSee `gridcast plan -h`.\n"),
        (["simulate", "sensors", "--serve", "--folder", "x"], "error: --folder: is for files, which --serve does not"),
        (["run", "a.yaml", "--backend", "jaxx"], "error: --backend: 'jaxx' is not allowed; did you mean 'jax'?"),
    ],
)
def test_a_wrong_word_gets_a_near_miss_and_the_way_to_the_help(words, message, folder, gridcast):
    code, out, err = gridcast(*words)
    assert (code, out) == (2, "")
    assert err.startswith(message)


# Commands that only read


READING = {
    "report": ["report", "small"],
    "report of a file": ["report", "small.yaml"],
    "promote": ["promote", "small.yaml"],
    "rollback": ["rollback", "small"],
    "predict": ["predict", "small", "sales.csv"],
    "backtest": ["backtest", "models:/small@champion"],
    "monitor": ["monitor", "runs:/0123456789abcdef0123456789abcdef/model", "sales.csv"],
    "serve": ["serve", "small", "--insecure-local"],
    "detect": ["detect", "small", "--follow", "."],
    "recalibrate": ["recalibrate", "small", "sales.csv"],
}


@pytest.mark.parametrize("case", READING)
def test_without_a_store_a_reading_command_says_so_and_creates_nothing(case, folder, gridcast, monkeypatch):
    monkeypatch.delenv("GRIDCAST_ADMIN_TOKEN", raising=False)
    sales(60).to_csv("sales.csv", index=False)
    write_experiment(folder / "small.yaml", "sales.csv")
    assert gridcast(*READING[case]) == (
        1,
        "",
        "error: mlflow.db: there is no MLflow store here yet; `gridcast run EXPERIMENT.yaml` creates it; if you have "
        "one, work in its folder or set MLFLOW_TRACKING_URI\n",
    )
    assert sorted(path.name for path in folder.iterdir()) == ["sales.csv", "small.yaml"]


def test_the_plan_of_an_experiment_leaves_nothing_behind(folder, gridcast, jax_backend):
    sales(60).to_csv("sales.csv", index=False)
    write_experiment(folder / "small.yaml", "sales.csv")
    code, out, err = gridcast("plan", "small.yaml", "--workers", "1")
    assert (code, err) == (0, "")
    assert "early stopping usually halves that" in out
    assert (
        "The leading configurations are not confirmed with further seeds: the 6 runs that 2 configurations need are "
        "more than a tenth of the sweep (search.confirm)."
    ) in " ".join(out.split())
    assert sorted(path.name for path in folder.iterdir()) == ["sales.csv", "small.yaml"]


def test_the_plan_shows_what_confirmation_costs_at_most(capsys):
    plan = SimpleNamespace(runs={str(n): SimpleNamespace(configuration=n) for n in range(1, 5)})
    wanted = ConfirmationPlan(top=2, seeds=4, runs=6)
    seconds = time_estimate.longest_seconds(plan, {"1": 10.0, "2": 40.0, "3": 30.0, "4": 20.0}, wanted)
    assert seconds == 3 * (40 + 30)
    terminal.print_confirmation(MaskingConsole(soft_wrap=True), wanted, seconds=seconds, workers=2)
    assert capsys.readouterr().out == (
        "Then the 2 leading configurations are confirmed with 4 seeds each: at most 6 further runs and 1 min 45 s "
        "(search.confirm).\n"
    )


def test_a_cache_that_is_not_there_is_a_temporary_one(folder):
    cache = folder / ".gridcast"
    assert cache_if_present(cache).is_dir()
    assert not cache.exists()
    cache.mkdir()
    assert cache_if_present(cache) == cache


# Addresses


def test_the_console_prints_no_password():
    out = MaskingConsole(file=io.StringIO(), soft_wrap=True)
    out.print(f"{SECRET}: no answer", markup=False)
    out.print("see", f"{SECRET}")
    assert out.file.getvalue() == (
        "postgresql://db.example.org/mlflow: no answer\nsee postgresql://db.example.org/mlflow\n"
    )


@pytest.mark.parametrize(
    "words", [["doctor"], ["report", "small"], ["predict", "small", "sales.csv"], ["rollback", "small"]]
)
def test_no_command_prints_the_password_of_the_store(words, folder, gridcast, monkeypatch):
    checks = [doctor.store.check_store, doctor.store.check_runs]
    monkeypatch.setattr(doctor, "examine", functools.partial(doctor.examine, checks=checks))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://anna:opensesame@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    code, out, err = gridcast(*words)
    assert code == 1
    assert "http://127.0.0.1:9" in out + err
    assert "opensesame" not in out + err
    assert "anna" not in out + err


def test_warnings_are_printed_without_a_password_too(gridcast, folder, capsys):
    gridcast("--version")
    handlers = [handler for handler in logging.getLogger("gridcast").handlers if "Warning" in type(handler).__name__]
    handlers[-1].emit(logging.LogRecord("gridcast", logging.WARNING, "", 0, "%s is away", (SECRET,), None))
    assert "opensesame" not in capsys.readouterr().err


@pytest.mark.slow
def test_training_prints_nothing_of_tensorflow(folder):
    """No banner of TensorFlow, absl or XLA reaches the user, whichever backend is used."""
    sales(60).to_csv("sales.csv", index=False)
    write_experiment(folder / "small.yaml", "sales.csv")
    command = [sys.executable, "-m", "gridcast", "plan", "small.yaml", "--workers", "1", "--backend", "tensorflow"]
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("TF_CPP", "KERAS_BACKEND"))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
