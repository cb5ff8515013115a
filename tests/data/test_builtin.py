"""Built-in data sets: cleaning on a table counted by hand, and the kept copy."""

import json

import pandas as pd

from gridcast.data import builtin

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
        {"date": "2010-12-01", "product": "22423", "quantity": 5.0, "unit_price": 1.0},
        {"date": "2010-12-02", "product": "22427", "quantity": 4.0, "unit_price": 3.0},
        {"date": "2010-12-01", "product": "85123A", "quantity": 10.0, "unit_price": 2.2},
    ]


def test_the_kept_copy_is_used_without_fetching_again(tmp_path):
    table, notes = builtin.clean_retail(pd.DataFrame(LINES, columns=COLUMNS))
    table.to_parquet(tmp_path / "online-retail.parquet")
    (tmp_path / "online-retail.json").write_text(json.dumps(notes))
    path, told = builtin.fetch("online-retail", tmp_path)
    assert (path, told) == (tmp_path / "online-retail.parquet", notes)
