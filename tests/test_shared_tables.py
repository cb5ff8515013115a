"""Tables rebuilt from public reports, and open data sets: each that can be read gets a valid file at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridcast import config
from gridcast.data.first_look.draft import draft_experiment
from gridcast.data.first_look.experiment_text import experiment_text
from gridcast.data.first_look.wishes import Wishes
from gridcast.runtime.errors import InputError
from gridcast.sweep.plan import make_plan

SHARED = Path(__file__).parents[2] / "shared"
CASES, DATA = SHARED / "cases", SHARED / "data"
REFUSED = {
    "forecast/01-yf-multiindex": "lines 2 to 3 are further rows of the header",
    "forecast/08-currency": "write 980.50",
    "forecast/11-mixed-encodings": "another encoding",
    "forecast/15-total-row": "such as a total or a remark, delete the line",
    "forecast/16-dup-columns": "the column 'sales' occurs twice",
    "forecast/17-wide-m5": "--start 2011-01-29 --frequency D",
    "forecast/17b-wide-m5-1941": "--start 2011-01-29 --frequency D",
    "forecast/18-xlsx": "not a whole Excel workbook",
    "forecast/46b-one-row": "too short",
    "forecast/63-2digit-year": "year of two digits",
    "forecast/65-quoted-newline": "line 152",
    "forecast/71x-dialect-skew": "too short",
    "forecast/99-m-2020-02-30": "line 2",
    "forecast/9a-percent": "percent",
    "forecast/9b-paren": "write -3.5",
    "use/v09-date-and-time-columns": "join them into one column",
    "use/v17-unit-row": "further row of the header",
    "use/f23-no-header": "must name the columns",
    "use/f24b-unit-row": "further row of the header",
    "use/f32-file-per-sensor": "no column",
    "use/f34-24h": "24:00",
    "use/f35-sensor-added-mid-file": "8 fields where the header has 7",
    "use/f44-missing-words": "infinite value",
    "exchange_rate/exchange_rate.txt.gz": "must name the columns",
    "hospital/hospital.csv.gz": "occurs twice",
    "jewelry/jewelry.csv.gz": "no column of dates",
    "m4/Hourly-test.csv.gz": "--start",
    "m4/Hourly-train.csv.gz": "--start",
    "m4/Weekly-test.csv.gz": "--start",
    "m4/Weekly-train.csv.gz": "--start",
    "nab/realTraffic": "each file may be a series",
}
"""What the refusal says of tables that the reader refuses, or that do not say when their steps are."""
ASKED = ("forecast/05-tsv-thousands", "forecast/07-quoted-thousands")
"""Tables that can be read in two ways."""
OTHERWISE = {
    "forecast/02-yf-ny-offset": {"frequency": "D"},  # trading days, not business days
    "forecast/19-unix-s": {"time_unit": "s"},  # which is the remedy of its refusal
    "forecast/19b-unix-ms": {"time_unit": "ms"},
    "forecast/19c-unix-parquet": {"time_unit": "s"},
    "forecast/61-weekly-aggregate": {"frequency": "D"},  # its rows are days
    "forecast/66-odd-columns": {"target": "target"},  # which is called so
}
"""Where a first look takes something else than the experiment file of the case, with as good a reason."""
EXPECTED = {
    "bikes/bikes_daily.csv": {"target": "rides", "series": (), "frequency": "D"},
    "cheese/cheese_weekly.csv": {"target": "volume", "series": ("retailer",), "frequency": "W"},
    "djia30/djia30_2006_2017.csv.gz": {"target": "Close", "series": ("Name",), "frequency": "D"},
    "electricity/victoria_hourly.csv.gz": {"target": "demand", "frequency": "h"},
    "etth/ETTh1.csv.gz": {"sensors": ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")},
    "nab/realKnownCause/nyc_taxi.csv": {"target": "value", "frequency": "30min"},
    "nab/realTraffic/speed_7578.csv": {"target": "value", "aggregate": "mean"},
    "skab/anomaly-free": {"time": "datetime", "labels": None, "frequency": "s"},
    "skab/other": {"labels": "anomaly"},
    "skab/valve1": {"labels": "anomaly", "frequency": "s"},
    "tuna/tuna_weekly.csv": {"target": "units", "series": ("brand",), "frequency": "W"},
    "walmart/walmart_weekly.csv": {"target": "sales", "series": ("department",), "frequency": "W"},
}
COMPARED = ("time", "series", "target", "frequency", "time_unit", "repeated")
"""Keys of data in which the experiment file of a case says what the right reading is."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir() or not CASES.is_dir(), reason=f"no folders {CASES} and {DATA}"),
]


def case_tables() -> list[str]:
    """The table of each case, or its folder of tables, from the folder of cases."""
    tables = []
    for folder in sorted(CASES.glob("*/*/")):
        found = [folder / "in"] if (folder / "in").is_dir() else sorted(folder.glob("*[!t].csv*"))
        found = sorted(folder.glob("data.*")) or found or sorted(folder.glob("*.csv*"))
        tables += [str(path.relative_to(CASES)) for path in found[:1]]
    return tables


def data_tables() -> list[str]:
    """Tables of the data sets, and folders of tables that belong together."""
    files = [path for path in DATA.glob("**/*") if path.suffix in (".csv", ".gz") and "skab" not in path.parts]
    folders = [DATA / "nab" / "realTraffic", *(path for path in (DATA / "skab").glob("*/"))]
    return sorted(str(path.relative_to(DATA)) for path in (*files, *folders) if path.exists())


def looked_at(table: str, root: Path, monkeypatch: pytest.MonkeyPatch):
    path = root / table
    monkeypatch.chdir(path.parent)
    draft = draft_experiment(path.name, Wishes())
    text = experiment_text(draft, path.name)
    return draft, text, config.parse(text)


@pytest.mark.parametrize("table", case_tables())
def test_a_case_gets_a_valid_file_with_the_right_settings_or_is_refused(monkeypatch, table):
    name = "/".join(Path(table).parts[:2])
    if name in REFUSED:
        with pytest.raises(InputError) as refused:
            looked_at(table, CASES, monkeypatch)
        assert REFUSED[name] in str(refused.value)
        return
    draft, text, experiment = looked_at(table, CASES, monkeypatch)
    assert (draft.question is not None) == (name in ASKED)
    if name in ASKED:
        return
    assert make_plan(experiment, text, "jax").runs
    described = CASES / name / "exp.yaml"
    if name.startswith("use/"):
        assert experiment.task == ("forecast" if "/m-" in name else "anomaly")
    elif described.exists():
        try:
            stated = config.read(described).data
        except InputError:  # a case about another section
            return
        expected = {key: getattr(stated, key) for key in COMPARED} | OTHERWISE.get(name, {})
        written = {key: getattr(experiment.data, key) for key in COMPARED}
        assert written | {"frequency": expected["frequency"] or written["frequency"]} == expected | {
            "frequency": expected["frequency"] or written["frequency"]
        }


@pytest.mark.parametrize("table", data_tables())
def test_a_data_set_gets_a_valid_file_with_the_right_settings_or_is_refused(monkeypatch, table):
    if table in REFUSED:
        with pytest.raises(InputError) as refused:
            looked_at(table, DATA, monkeypatch)
        assert REFUSED[table] in str(refused.value)
        return
    draft, text, experiment = looked_at(table, DATA, monkeypatch)
    assert draft.question is None
    assert make_plan(experiment, text, "jax").runs
    expected = EXPECTED.get(table, {})
    assert {key: getattr(experiment.data, key) for key in expected} == expected
