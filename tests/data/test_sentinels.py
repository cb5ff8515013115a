"""Numbers such as -9999 are remarked on where they lie far from all others of their series."""

import numpy as np
import pandas as pd
import pytest

from gridcast.data.sentinels import sentinel_remark


def test_a_sentinel_is_told_with_its_count_and_the_remedy():
    values = pd.Series([1.0, -9999.0, 3.0, -9999.0, np.nan])
    told = "2 values are -9999, far from the others (1 to 3); if that means no reading, "
    assert sentinel_remark(values, settable=True) == told + "write data.missing: [-9999]"
    assert sentinel_remark(values, settable=False) == told + "leave these fields empty"


def test_each_series_is_judged_by_its_own_values():
    values = pd.Series([1.0, -9999.0, 3.0, 60_000.0, 70_000.0, -9999.0])
    series = pd.Series(["flow", "flow", "flow", "power", "power", "power"], dtype="category")
    assert sentinel_remark(values, settable=True) == ""
    assert sentinel_remark(values, series, settable=True).startswith("1 values are -9999, far from the others (1 to 3)")


@pytest.mark.parametrize("values", [[-9999.0, -9990.0, -9000.0], [-9999.0, 30_000.0], [-9999.0], [-9998.0, 1.0]])
def test_an_ordinary_value_is_not_remarked_on(values):
    assert sentinel_remark(pd.Series(values), settable=True) == ""
