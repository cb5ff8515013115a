"""Tables rebuilt from public reports: each is read as its folder says, or refused with the place and a remedy."""

from pathlib import Path

import pytest

from gridcast import config
from gridcast.data import sources
from gridcast.runtime.errors import InputError

CASES = Path(__file__).parents[3] / "shared" / "cases" / "forecast"

READ = {
    "09-region-NA": (180, [50.0, 53.27]),
    "12-sep-line": (60, [48.96, 54.53]),
    "13-header-newline": (60, [50.72, 53.3]),
    "18b-xlsx-named-csv-utf16": (60, [50.34, 54.86]),
    "20-years-int": (64, [52.83, 51.95]),
    "20c-years-int-parquet": (64, [48.87, 49.81]),
    "21-yyyymm": (60, [47.2, 51.5]),
    "21c-isoweeks": (120, [49.12, 51.72]),
    "21d-mon-yy": (60, [50.5, 56.3]),
    "22-parquet-decimal": (60, [51.72, 53.09]),
    "22b-parquet-bool": (60, [1.0, 0.0]),
    "22c-csv-bool": (60, [1.0, 0.0]),
    "23-space-ids": (120, [49.82, 50.51]),
    "26-brackets": (60, [49.96, 51.2]),
    "57-dayfirst-predict": (72, [47.49, 47.25]),
    "59-leading-zeros": (120, [55.34, 53.19]),
    "63b-ampm": (500, [46.61, 54.57]),
    "66-odd-columns": (60, [48.9, 54.58]),
    "70-experiment-deleted": (120, [51.0, 54.272]),
    "93-slashed-one-offset": (200, [0.0, 1.0]),
    "96-trailing-commas": (80, [50.0, 51.0]),
}
"""Rows and first values of the target."""
REFUSED = {
    "01-yf-multiindex": ["line 2", "further row of the header"],
    "05-tsv-thousands": ["line 3", "'1,017' may be 1.017", "1017", "data.decimal"],
    "07-quoted-thousands": ["line 3", "1017", "data.decimal"],
    "08-currency": ["line 2", "'$980.50'", "write 980.50"],
    "11-mixed-encodings": ["line 62", "another encoding", "data.encoding"],
    "15-total-row": ["line 62", "'Total'"],
    "16-dup-columns": ["'sales' occurs twice"],
    "17-wide-m5": ["data.wide"],
    "17b-wide-m5-1941": ["data.wide"],
    "18-xlsx": ["Excel"],
    "19-unix-s": ["line 2", "data.time_unit: s"],
    "19b-unix-ms": ["line 2", "data.time_unit: ms"],
    "19c-unix-parquet": ["row 1", "data.time_unit: s"],
    "60-rossmann": ["line 2", "'StateHoliday'", "'a'"],
    "63-2digit-year": ["line 2", "two digits"],
    "65-quoted-newline": ["line 152", "'oops'"],
    "90-blank-flags": ["'promo'", "data.blanks"],
    "99-m-2020-02-30": ["line 2"],
    "9a-percent": ["line 2", "percent"],
    "9b-paren": ["line 7", "write -3.5"],
    "9c-dash": ["line 7", "data.missing: ['-']"],
}
"""What the refusal says."""
WARNED = {"92-id-case": "look alike", "9d-sentinel": "data.missing: [-9999]"}

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"no folder {CASES}")


@pytest.fixture
def load(monkeypatch):
    def of(name):
        monkeypatch.chdir(CASES / name)
        return sources.load_table(config.read("exp.yaml").data)

    return of


@pytest.mark.parametrize("name", READ)
def test_a_table_is_read(load, name):
    rows, values = READ[name]
    table = load(name)
    assert len(table.rows) == rows
    assert table.rows["__target__"].tolist()[:2] == values


@pytest.mark.parametrize("name", REFUSED)
def test_a_table_is_refused_with_its_place_and_a_remedy_on_one_screen(load, name):
    with pytest.raises(InputError) as refused:
        load(name)
    message = str(refused.value)
    assert [part for part in REFUSED[name] if part not in message] == []
    assert len(message) < 600


@pytest.mark.parametrize("name", WARNED)
def test_a_doubtful_table_is_read_with_a_warning(load, name):
    notes = load(name).notes
    assert any(note.startswith("warning:") and WARNED[name] in note for note in notes)
