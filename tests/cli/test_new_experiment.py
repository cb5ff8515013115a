"""`gridcast new` and `gridcast schema`: files, messages, exit codes."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

from gridcast import cli, config
from gridcast.runtime.errors import ConfigError

DAYS = pd.date_range("2021-01-01", periods=90)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a command in a folder with the table sales.csv; its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tables").mkdir()
    pd.DataFrame({"date": DAYS, "y": np.arange(90) % 7}).to_csv(tmp_path / "tables" / "sales.csv", index=False)

    def of(*words):
        monkeypatch.setattr(sys, "argv", ["gridcast", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out, printed.err

    return of


def test_a_file_is_written_checked_and_never_overwritten(run, tmp_path):
    code, out, err = run("new", "tables/sales.csv")
    assert (code, err) == (0, "")
    assert "sales.yaml is valid: 4 runs on 1 series" in out
    assert "gridcast run sales.yaml" in out
    text = (tmp_path / "sales.yaml").read_text()
    assert "# yaml-language-server: $schema=gridcast.schema.json" in text
    assert config.read(tmp_path / "sales.yaml").data.source.endswith("tables/sales.csv")
    code, _, err = run("new", "tables/sales.csv", "--target", "y")
    assert (code, (tmp_path / "sales.yaml").read_text()) == (2, text)
    assert "sales.yaml: exists already" in err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_file_finds_its_table_from_any_folder(run, tmp_path, monkeypatch):
    (tmp_path / "experiments").mkdir()
    assert run("new", "tables/sales.csv", "-o", "experiments/first.yaml", "--name", "first")[0] == 0
    monkeypatch.chdir("/")
    code, out, err = run("validate", str(tmp_path / "experiments" / "first.yaml"))
    assert (code, err) == (0, "")
    assert "is valid: 4 runs" in out


@pytest.mark.parametrize(("horizon", "lookback", "share"), [(6, 21, 0.2), (25, 7, 0.28)])
def test_a_stated_horizon_is_kept_with_spans_that_hold_it(run, tmp_path, horizon, lookback, share):
    assert run("new", "tables/sales.csv", "--horizon", str(horizon))[0] == 0
    written = config.read(tmp_path / "sales.yaml")
    assert (written.window.horizon, written.window.lookback) == (horizon, lookback)
    assert (written.split.validation, written.split.test) == (share, share)


def test_with_many_short_series_a_window_reads_as_many_steps_as_it_forecasts(run, tmp_path):
    months = pd.date_range("2022-01-01", periods=24, freq="MS")
    table = pd.DataFrame({"month": np.tile(months, 60), "shop": np.repeat([f"s{n}" for n in range(60)], 24)})
    table.assign(sales=np.arange(len(table)) % 11).to_csv(tmp_path / "shops.csv", index=False)
    assert run("new", "shops.csv", "--horizon", "6")[0] == 0
    written = config.read(tmp_path / "shops.yaml")
    assert (written.window.horizon, written.window.lookback, written.split.test) == (6, 6, 0.25)


def test_an_open_question_ends_with_2_and_a_remedy_that_works(run, tmp_path):
    rows = [f"{day:%Y-%m-%d}\t1,{number:03}" for number, day in enumerate(DAYS, start=100)]
    (tmp_path / "sales.tsv").write_text("\n".join(["date\ty", *rows]))
    code, out, err = run("new", "sales.tsv")
    assert code == 2
    assert "sales.yaml is written" in out
    assert "'1,100' may be 1.100 (decimal comma) or 1100 (decimal point)" in err
    assert "Remove the # before `decimal: comma` or `decimal: point`" in err
    path = tmp_path / "sales.yaml"
    path.write_text(path.read_text().replace("# decimal: point", "decimal: point"))
    assert run("validate", "sales.yaml")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing.csv",), "no such file"),
        (("tables/sales.csv", "--task", "forecasts"), "did you mean 'forecast'"),
        (("tables/sales.csv", "-o", "no/where.yaml"), "its folder does not exist"),
        (("tables/sales.csv", "--time", "dat"), "did you mean 'date'"),
        (("online-retail",), "is a built-in set"),
        (("tables/sales.csv", "--horizon", "31"), "--horizon: the table has 90 steps, too few to forecast so many"),
        (("tables/sales.csv", "--horizon", "3", "--task", "anomaly"), "--horizon: a detector scores each step"),
    ],
)
def test_what_is_wrong_ends_with_2_and_leaves_no_file(run, tmp_path, words, message):
    code, _, err = run("new", *words)
    assert code == 2
    assert message in err
    assert not list(tmp_path.glob("**/*.yaml"))


def test_the_schema_is_json_and_the_page_markdown(run):
    code, out, _ = run("schema")
    assert code == 0
    assert json.loads(out)["properties"]["window"]["description"]
    assert run("schema", "--markdown")[1].startswith("# Settings of an experiment file")


def test_a_name_that_is_no_name_is_refused_with_the_rule(run):
    code, _, err = run("new", "tables/sales.csv", "--name", "no name/at all")
    assert code == 2
    assert "must be letters from A to Z" in err
    assert ConfigError.exit_code == 2


def test_a_column_of_text_that_no_network_reads_is_named(run, tmp_path):
    table = pd.DataFrame({"date": DAYS, "y": np.arange(90) % 7, "promotion": np.where(np.arange(90) % 5, "no", "yes")})
    table.to_csv(tmp_path / "shop.csv", index=False)
    code, out, _ = run("new", "shop.csv")
    assert code == 0
    assert "check: 'promotion': text, not used; where it should be a covariate, write numbers for its words" in out
