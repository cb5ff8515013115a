"""What is wrong with one series leaves the others answered."""

import numpy as np
import pandas as pd
import pytest

from gridcast.runtime.errors import DataError
from gridcast.runtime.forecaster import Forecaster
from small_experiments import planned, sales

DAYS, LOOKBACK, HORIZON = 60, 7, 2
PRODUCTS = ("apple", "pear", "plum", "kiwi")
FRAME = sales(DAYS, PRODUCTS).assign(promotion=lambda table: (table.index % 5 == 0).astype(float))
DATES = sorted(FRAME["date"].unique())
LAST = DATES[-HORIZON - 1]


class Last:
    """A network that repeats the last value."""

    def predict_on_batch(self, inputs):
        return np.repeat(np.asarray(inputs["history"])[:, -1:, 0], HORIZON, axis=1)


@pytest.fixture(scope="module")
def forecaster(tmp_path_factory):
    sections = {
        "data": {"future": ["promotion"], "short": "drop"},
        "window": {"lookback": LOOKBACK, "horizon": HORIZON},
        "transform": {"log1p": True},
    }
    # A product of three days is left out of training.
    young = FRAME[FRAME["product"] == "apple"].tail(3).assign(product="new")
    plan = planned(tmp_path_factory.mktemp("partial"), pd.concat([FRAME, young]), **sections)
    assert plan.panel.series == ("apple", "kiwi", "pear", "plum")
    assert any(
        note == "1 series too short for their windows, or ended early (new): left out (short: drop)"
        for note in plan.panel.notes
    )
    return Forecaster(plan.dataset.preprocessing, Last())


@pytest.fixture
def table():
    frame = FRAME.copy()
    frame.loc[frame["date"] > LAST, "quantity"] = np.nan
    return frame


def spoilt(table, fault):
    pear = table["product"] == "pear"
    if fault == "future":
        return table.assign(promotion=table["promotion"].where(~pear | (table["date"] != DATES[-1])))
    if fault == "short":
        return table[~pear | (table["date"] > DATES[-HORIZON - 4])]
    if fault == "range":
        return table.assign(quantity=table["quantity"].where(~pear | (table["date"] != LAST), -3.0))
    if fault == "infinite":
        return table.assign(quantity=table["quantity"].where(~pear | (table["date"] != LAST), np.inf))
    if fault == "twice":
        return pd.concat([table, table[pear & (table["date"] == LAST)]], ignore_index=True)
    if fault == "unknown":
        return table.assign(product=table["product"].mask(pear, "peer"))
    if fault == "left out":
        return table.assign(product=table["product"].mask(pear, "new"))
    assert fault == "ended"
    return table[~pear | (table["date"] < DATES[-HORIZON - LOOKBACK - 2]) | (table["date"] > LAST)]


REASONS = {
    "future": "column 'promotion': series 'pear' has no value at 2023-03-02",
    "short": "series 'pear': 3 of the last 7 steps of history have a value",
    "range": "column 'quantity': series 'pear' is '-3' at 2023-02-28 00:00:00, and log1p needs values above -1",
    "infinite": "column 'quantity', row 117: infinite value",
    "twice": "row 240: series 'pear' at 2023-02-28 00:00:00 occurs twice",
    "unknown": "series 'peer' was not in the training data; did you mean 'pear'?",
    "left out": "series 'new' was left out of training, as it was too short or had ended (data.short: drop)",
    "ended": "series 'pear': has ended at 2023-02-19 00:00:00, 9 steps before the newest of the table",
}


@pytest.mark.parametrize("fault", REASONS)
def test_one_bad_series_leaves_the_others_answered(forecaster, table, fault):
    whole = forecaster.predict(table)
    bad = spoilt(table, fault)
    answered, problems = forecaster.predict_each_series(bad)
    [(name, sentence)] = problems.items()
    assert name == {"unknown": "peer", "left out": "new"}.get(fault, "pear")
    assert sentence.startswith(REASONS[fault])
    others = answered[answered["problem"].isna()].drop(columns="problem").reset_index(drop=True)
    pd.testing.assert_frame_equal(others, whole[whole["product"] != "pear"].reset_index(drop=True))
    rows = answered[answered["product"] == name]
    assert rows["forecast"].isna().all()
    assert rows["problem"].tolist() == [sentence] * HORIZON
    assert rows["date"].dt.strftime("%Y-%m-%d").tolist() == DATES[-HORIZON:]
    assert answered["product"].tolist() == [one for one in bad["product"].unique() for _ in range(HORIZON)]
    if fault != "ended":
        with pytest.raises(DataError) as refused:
            forecaster.predict(bad)
        assert str(refused.value) == sentence


def test_without_a_fault_the_answer_is_that_of_predict(forecaster, table):
    answered, problems = forecaster.predict_each_series(table)
    assert problems == {}
    pd.testing.assert_frame_equal(answered, forecaster.predict(table))


def test_an_ended_series_is_forecast_from_its_own_end_where_that_is_asked_for_and_reported(forecaster, table, caplog):
    bad = spoilt(table, "ended")
    bad = pd.concat([bad, FRAME[(FRAME["product"] == "pear") & FRAME["date"].isin(DATES[49:51])].assign(quantity=None)])
    answered, problems = forecaster.predict_each_series(bad, ended=True)
    assert problems == {}
    assert answered.loc[answered["product"] == "pear", "date"].min() == pd.Timestamp(DATES[49])
    assert "1 series end long before the newest step of the table (pear): their forecasts start" not in caplog.text
    pd.testing.assert_frame_equal(forecaster.predict(bad), answered)
    assert "1 series end long before the newest step of the table (pear): their forecasts start" in caplog.text


def test_where_every_series_is_bad_the_first_fault_is_raised(forecaster, table):
    with pytest.raises(DataError, match="series 'pear': 3 of the last 7 steps of history have a value"):
        forecaster.predict_each_series(spoilt(table[table["product"] == "pear"], "short"))
