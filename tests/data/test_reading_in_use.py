"""The very file that trained a model is read in use, with the settings and series of training."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gridcast import config
from gridcast.config import grid
from gridcast.data import prediction_files, sources
from gridcast.runtime import input_rows, input_table
from gridcast.runtime.dialect import Dialect
from gridcast.runtime.errors import DataError, InputError
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.sweep.plan import make_plan
from small_experiments import experiment, planned, sales


def carried(plan):
    """The preprocessing of a model, as it is read from its file."""
    return Preprocessing.from_json(json.loads(json.dumps(plan.dataset.preprocessing.to_json())))


def asked(preprocessing, table):
    lookbacks = np.full(len(preprocessing.series), preprocessing.lookback)
    rows, ids, _ = input_rows.checked_rows(table, preprocessing)
    arrays = input_rows.as_arrays(rows, ids, preprocessing)
    return input_table.from_checked_rows(arrays, preprocessing, lookbacks=lookbacks, horizon=preprocessing.horizon)


def read_again(folder, preprocessing):
    return asked(preprocessing, prediction_files.read_series_table(folder / "sales.csv", preprocessing))


FRAME = sales(60, ("apple", "pear")).drop(columns="price")


@pytest.mark.parametrize("kept", [1, 2])
def test_the_file_that_trained_is_read_with_repeated_rows_and_series_that_were_left_out(tmp_path, caplog, kept):
    flat = FRAME[FRAME["product"] == "apple"].assign(product="flat", quantity=5.0)
    table = pd.concat([FRAME, FRAME.tail(1).assign(quantity=99.0), flat], ignore_index=True)
    data = {"repeated": "last", "constant": "drop", "select": {"top": kept}}
    preprocessing = carried(planned(tmp_path, table, data=data))
    laid_out = read_again(tmp_path, preprocessing)
    assert set(laid_out.ids) == set(preprocessing.series)
    assert "flat" in preprocessing.left_out
    assert "series that training left out are passed over" in caplog.text
    if "pear" in laid_out.ids:
        assert laid_out.target[laid_out.ids.index("pear"), laid_out.origin[0] - 1] == 99


def test_months_written_day_first_are_read_in_use_from_files_and_frames(tmp_path):
    dates = pd.date_range("2016-01-01", periods=60, freq="MS").strftime("%d/%m/%Y")
    table = pd.DataFrame({"date": dates, "product": "a", "quantity": np.arange(60.0)})
    plan = planned(tmp_path, table, data={"dates": "day-first", "frequency": "M", "calendar": "regular"})
    preprocessing = carried(plan)
    for laid_out in (read_again(tmp_path, preprocessing), asked(preprocessing, table)):
        assert laid_out.times[laid_out.origin[0] - 1] == np.datetime64("2020-12-01")


@pytest.mark.parametrize(("trained", "given"), [("1", 1.0), ("1.0", "1"), ("7", "7.0")])
def test_whole_numbers_are_the_same_name_with_and_without_decimals(tmp_path, trained, given):
    preprocessing = carried(planned(tmp_path, FRAME[FRAME["product"] == "apple"].assign(product=trained)))
    assert asked(preprocessing, FRAME[FRAME["product"] == "apple"].assign(product=given)).ids == (trained,)


def test_an_id_that_lost_its_zeros_is_refused_with_the_way_to_keep_them(tmp_path):
    preprocessing = carried(planned(tmp_path, FRAME[FRAME["product"] == "apple"].assign(product="007")))
    with pytest.raises(DataError, match=r"'7' was not in the training data; '007' was: .*dtype=\{'product': str\}"):
        asked(preprocessing, FRAME[FRAME["product"] == "apple"].assign(product=7))


def test_numbers_that_mean_no_reading_are_none_in_files_and_frames(tmp_path):
    table = FRAME.astype({"quantity": float})
    table.loc[[20, 100], "quantity"] = -9999.0
    data = {"missing": [-9999, "?"], "gaps": "ffill", "calendar": "regular"}
    plan = planned(tmp_path, table, data=data)
    assert plan.panel.target.min() > -9999
    for laid_out in (read_again(tmp_path, carried(plan)), asked(carried(plan), table)):
        assert np.nanmin(laid_out.target) > -9999


@pytest.mark.parametrize("blanks", ["zero", "ffill"])
def test_blank_covariates_are_filled_in_use_as_in_training(tmp_path, blanks):
    table = FRAME.assign(promo=np.where(np.arange(len(FRAME)) % 7 == 0, 1.0, np.nan))
    table.loc[[0, 60], "promo"] = 1.0
    plan = planned(tmp_path, table, data={"past": ["promo"], "blanks": blanks})
    share = plan.panel.past.mean()
    assert (share < 0.2) == (blanks == "zero")
    for laid_out in (read_again(tmp_path, carried(plan)), asked(carried(plan), table)):
        steps = laid_out.origin[0]
        np.testing.assert_array_equal(laid_out.columns[:, :steps, 0], plan.panel.past[:, :, 0])


def test_blank_covariates_are_refused_in_use_where_training_had_none(tmp_path):
    table = FRAME.assign(promo=1.0)
    preprocessing = carried(planned(tmp_path, table, data={"past": ["promo"]}))
    table.loc[30, "promo"] = np.nan
    table.to_csv(tmp_path / "sales.csv", index=False)
    with pytest.raises(DataError, match=r"sales.csv, line 32, column 'promo': empty is no value"):
        read_again(tmp_path, preprocessing)
    with pytest.raises(DataError, match="column 'promo', row 30: no value"):
        asked(preprocessing, table)


def test_a_wide_table_is_read_in_use_as_in_training_and_so_is_a_long_one(tmp_path):
    wide = FRAME.pivot_table(index="product", columns="date", values="quantity").reset_index()
    plan = planned(tmp_path, wide, data={"wide": {"time": "columns"}})
    expected = planned(tmp_path, FRAME).panel
    assert plan.panel.fingerprint == expected.fingerprint
    assert read_again(tmp_path, carried(plan)).ids == ("apple", "pear")
    wide.to_csv(tmp_path / "sales.csv", index=False)
    assert read_again(tmp_path, carried(plan)).ids == ("apple", "pear")


def test_a_model_of_a_former_version_reads_points_as_decimal_points(tmp_path):
    preprocessing = planned(tmp_path, FRAME).dataset.preprocessing
    content = {key: value for key, value in preprocessing.to_json().items() if key not in ("dialect", "reading")}
    former = Preprocessing.from_json(content)
    assert (former.dialect, former.reading) == (Dialect.from_json(None), {})
    (tmp_path / "h.csv").write_text("date;product;quantity\n2023-01-05;apple;1.017\n")
    assert prediction_files.read_series_table(tmp_path / "h.csv", former)["quantity"].tolist() == [1.017]
    with pytest.raises(DataError, match=r"'1.017' may be 1017"):
        prediction_files.read_series_table(tmp_path / "h.csv", replace(former, dialect=Dialect()))


def test_long_sensor_exports_become_columns(tmp_path):
    path = tmp_path / "tags.csv"
    path.write_text("time;tag;value\n2024-01-01 00:00;flow;1,5\n2024-01-01 00:00;heat;20\n2024-01-01 00:01;flow;2,5\n")
    data = {"source": str(path), "time": "time", "pivot": {"names": "tag", "values": "value"}, "frequency": "min"}
    content = {"version": 1, "name": "tags", "task": "anomaly", "data": data, "window": {"lookback": 2}}
    table = sources.load_table(config.parse(json.dumps(content)).data)
    assert table.rows[["__series__", "__target__"]].to_numpy().tolist() == [["flow", 1.5], ["flow", 2.5], ["heat", 20]]


def test_a_source_is_looked_for_beside_the_experiment_file_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plans").mkdir()
    path = tmp_path / "plans" / "small.yaml"
    text = "version: 1\nname: small # kept\ndata: {source: sales.csv, time: date, target: quantity, series: product}\n"
    path.write_text(text + "window: {lookback: 7}\n")
    FRAME.to_csv("sales.csv", index=False)
    assert config.read(path).data.source == "sales.csv"
    FRAME.to_csv("plans/sales.csv", index=False)
    data = config.read("plans/small.yaml").data
    assert data.source == "plans/sales.csv"
    assert sources.load_table(data).notes[0].startswith("plans/sales.csv: 120 rows")
    assert "name: small # kept" in config.read_text("plans/small.yaml")


def test_a_model_is_asked_with_every_source_that_training_has(tmp_path, monkeypatch):
    """A file, a pattern of files with dialects of their own, an address, and a database with the query of training."""
    monkeypatch.chdir(tmp_path)
    database = f"sqlite:///{tmp_path}/shop.db"
    FRAME.to_sql("sales", database, index=False)
    found = experiment(database, data={"query": "SELECT * FROM sales"})
    plan = make_plan(found, "", "jax")
    middle = sorted(FRAME["date"])[len(FRAME) // 2]
    FRAME.to_csv("sales.csv", index=False)
    FRAME[FRAME["date"] < middle].to_csv("part-1.csv", index=False)
    FRAME[FRAME["date"] >= middle].to_csv("part-2.csv", index=False, sep=";", decimal=",")
    expected = read_again(tmp_path, carried(plan))
    for source in ("part-*.csv", f"file://{tmp_path}/sales.csv", database):
        laid_out = asked(carried(plan), prediction_files.read_series_table(source, carried(plan)))
        assert laid_out.ids == expected.ids
        np.testing.assert_array_equal(laid_out.times, expected.times)
        np.testing.assert_array_equal(laid_out.target, expected.target)


def test_a_query_leaves_run_keys_as_they_were_and_no_password_in_messages(tmp_path):
    keys = {
        grid.run_key(found, grid.expand(found)[0], fingerprint="f", backend="jax")
        for found in (experiment(), experiment(data={"query": "SELECT * FROM sales"}))
    }
    assert len(keys) == 1
    preprocessing = carried(planned(tmp_path, FRAME))
    with pytest.raises(
        InputError, match="postgresql://anna@db/shop: is a database, .* give its rows as a file"
    ) as refused:
        prediction_files.read_series_table("postgresql://anna:opensesame@db/shop", preprocessing)
    assert "opensesame" not in str(refused.value)


def test_a_series_without_any_value_is_passed_over_as_in_training_or_named_where_the_model_knows_it(tmp_path, caplog):
    silent = FRAME[FRAME["product"] == "apple"].assign(product="silent", quantity=np.nan)
    preprocessing = carried(planned(tmp_path, pd.concat([FRAME, silent], ignore_index=True)))
    assert set(read_again(tmp_path, preprocessing).ids) == {"apple", "pear"}
    assert "passed over: silent" in caplog.text
    FRAME.assign(quantity=FRAME["quantity"].where(FRAME["product"] == "apple")).to_csv(
        tmp_path / "sales.csv", index=False
    )
    with pytest.raises(DataError, match="series 'pear': 0 of the last 7 steps of history have a value"):
        read_again(tmp_path, preprocessing)
