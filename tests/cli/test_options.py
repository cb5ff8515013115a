"""Tables that options name as output."""

import pandas as pd
import pytest

from gridcast.cli.options import check_output_path, write_table
from gridcast.runtime.errors import ConfigError

FRAME = pd.DataFrame({"date": pd.date_range("2021-01-01", periods=2), "series": ["007", "b"], "quantity": [1.5, 2.0]})
READERS = {".csv": pd.read_csv, ".xlsx": pd.read_excel, ".parquet": pd.read_parquet}


@pytest.mark.parametrize("ending", READERS)
def test_a_table_is_written_in_the_kind_of_file_that_its_name_says(tmp_path, ending):
    path = tmp_path / f"forecast{ending}"
    check_output_path(path)
    write_table(FRAME, path)
    assert READERS[ending](path)["quantity"].tolist() == [1.5, 2.0]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"must be a .csv, .xlsx or .parquet file"):
        check_output_path(tmp_path / "forecast.xls")
