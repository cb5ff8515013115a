"""Each experiment of the project: its model answers from the very table that trained it, on the next stamps.

The tables have the columns, dates and closed days of the built-in sets, which tests do not download.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from gridcast import config
from gridcast.sweep.plan import make_plan
from untrained_models import answer

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
PRODUCTS = [f"{code}" for code in range(84001, 84111)]
SHOP_DAYS = pd.offsets.CustomBusinessDay(weekmask="Sun Mon Tue Wed Thu Fri")
NEXT = {
    "retail_daily": (SHOP_DAYS, "2011-12-11"),
    "retail_daily_global": (SHOP_DAYS, "2011-12-11"),
    "retail_search": (SHOP_DAYS, "2011-12-11"),
    "smoke": (SHOP_DAYS, "2011-12-11"),
    "long_horizon": (SHOP_DAYS, "2011-12-11"),
    "prices_per_product": (pd.offsets.Week(weekday=0), "2011-12-05"),
    "retail_monthly": (pd.offsets.MonthBegin(), "2011-12-01"),
    "stocks_daily": (pd.offsets.BDay(), "2013-03-04"),
}
"""The step that pandas makes from the last stamp of the data, and where it leads."""


def retail():
    """Sales of products on a third of the days, from Sundays to Fridays, and all of them in the last weeks."""
    random = np.random.default_rng(0)
    days = pd.date_range("2009-12-01", "2011-12-09", freq=SHOP_DAYS)
    table = pd.DataFrame({"date": np.repeat(days, len(PRODUCTS)), "product": PRODUCTS * len(days)})
    table["quantity"] = random.integers(1, 50, len(table)).astype(float)
    table["unit_price"] = np.round(random.uniform(1, 5, len(table)), 2)
    table = table.assign(group=table["product"].str[:2], subgroup=table["product"].str[:3])
    return table[(random.random(len(table)) < 1 / 3) | table["date"].isin([pd.Timestamp("2011-12-02"), days[-1]])]


def stocks():
    """Closes on business days."""
    days = pd.bdate_range("2010-01-04", "2013-03-01")
    return pd.DataFrame({"date": days, "ticker": "AAPL", "close": 100 + np.arange(len(days)) % 17, "volume": 1})


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    retail().to_parquet(folder / "online-retail.parquet")
    stocks().to_parquet(folder / "daily-stocks.parquet")
    return folder


def test_every_forecasting_experiment_on_data_of_ours_is_in_the_table():
    contents = {path.stem: yaml.safe_load(path.read_text()) for path in EXPERIMENTS.glob("*.yaml")}
    forecasting = {name: content["data"]["source"] for name, content in contents.items() if "anomaly" not in content}
    assert set(NEXT) == {name for name, source in forecasting.items() if "." not in source}


@pytest.mark.parametrize("name", NEXT)
def test_the_table_that_trained_is_answered_with_the_next_stamps_of_its_kind(tables, name):
    step, first = NEXT[name]
    text = (EXPERIMENTS / f"{name}.yaml").read_text()
    source = str(tables / f"{config.parse(text).data.source}.parquet")
    plan = make_plan(config.parse(config.with_source(text, source)), text, "jax")
    table = answer(plan, source)
    expected = pd.date_range(plan.panel.times[-1] + step, periods=plan.experiment.window.horizon, freq=step)
    by_series = table.groupby(plan.experiment.data.series[0])["date"]
    assert expected[0] == pd.Timestamp(first)
    assert {tuple(stamps) for _, stamps in by_series} == {tuple(expected)}
    assert len(by_series) == len(plan.panel.series)
    assert table["forecast"].notna().all()
