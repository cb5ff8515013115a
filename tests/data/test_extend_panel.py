"""A panel goes on with later rows as training would have placed them."""

import numpy as np
import pandas as pd
import pytest

from gridcast.data.extend_panel import extend_panel
from gridcast.runtime.errors import DataError
from gridcast.runtime.input_rows import checked_rows
from small_experiments import planned, sales

FRAME = sales(140)
STAMPS = pd.to_datetime(FRAME["date"])
DATA = {"past": ["price"], "future": ["day_of_week"]}


def goes_on(found, rows, after):
    own = found.dataset.preprocessing
    return extend_panel(found.panel, checked_rows(rows, own)[0], own, after=pd.Timestamp(after))


def before(folder, **data):
    """The plan of the first 120 days."""
    return planned(folder, FRAME[STAMPS < "2023-05-02"], data=DATA | data)


@pytest.mark.parametrize("calendar", ["regular", "observed"])
def test_the_rows_stand_where_a_panel_of_all_of_them_has_them(tmp_path, calendar):
    found = before(tmp_path, calendar=calendar)
    panel, begin = goes_on(found, FRAME[STAMPS >= "2023-05-02"], "2023-04-20")
    whole = planned(tmp_path, FRAME, data=DATA | {"calendar": calendar}).panel
    assert begin == 120
    assert panel.times.equals(whole.times)
    np.testing.assert_allclose(panel.target, whole.target)
    np.testing.assert_allclose(panel.past, whole.past)
    assert panel.observed.all()
    assert panel.spans == found.panel.spans


def test_rows_of_known_days_win_and_those_up_to_the_bound_are_passed_over(tmp_path):
    found = before(tmp_path)
    rows = FRAME.assign(quantity=1000.0)
    panel, begin = goes_on(found, rows, "2023-04-20")
    assert panel.times[begin] == pd.Timestamp("2023-04-21")
    assert (panel.target[:, begin:] == 1000).all()
    np.testing.assert_array_equal(panel.target[:, :begin], found.panel.target[:, :begin])


def test_days_between_and_series_without_a_row_are_not_observed(tmp_path):
    found = before(tmp_path, calendar="regular", gaps="zero")
    rows = FRAME[(STAMPS >= "2023-05-05") & (FRAME["product"] == "pear")]
    rows = rows.drop(rows.index[3])
    panel, begin = goes_on(found, rows, "2023-04-20")
    assert begin == 123
    assert np.isnan(panel.target[:, 120:123]).all()
    assert not panel.observed[:, 120:123].any()
    assert not panel.observed[0, 120:].any()
    # A gap among the rows is filled as in training: nothing was sold.
    assert panel.target[1, begin + 3] == 0
    assert panel.observed[1, begin:].all()
    assert panel.past[1, begin + 3, 0] == panel.past[1, begin + 2, 0]


def test_a_gap_that_is_never_filled_stays_open(tmp_path):
    found = before(tmp_path, calendar="regular", gaps="error")
    rows = FRAME[STAMPS >= "2023-05-02"]
    panel, _ = goes_on(found, rows.drop(rows.index[2]), "2023-05-01")
    assert np.argwhere(~panel.observed).tolist() == [[0, 122]]


def test_what_cannot_be_placed_is_refused(tmp_path):
    found = before(tmp_path, calendar="regular")
    with pytest.raises(DataError, match="no row with a 'quantity' after 2023-05-01, .*the last is of 2023-05-01"):
        goes_on(found, FRAME[STAMPS < "2023-05-02"], "2023-05-01")
    off = FRAME[STAMPS >= "2023-05-02"].assign(date=lambda rows: rows["date"] + " 06:00")
    with pytest.raises(DataError, match="off the axis of frequency D"):
        goes_on(found, off, "2023-05-01")
