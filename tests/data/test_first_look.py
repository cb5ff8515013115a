"""Tables of each kind, and the experiment file that a first look at them writes."""

import re
import sqlite3

import numpy as np
import pandas as pd
import pytest

from gridcast import config
from gridcast.data.first_look import period_columns
from gridcast.data.first_look.draft import draft_experiment
from gridcast.data.first_look.experiment_text import experiment_text
from gridcast.data.first_look.wishes import Wishes
from gridcast.runtime.errors import ConfigError, DataError
from gridcast.sweep.plan import make_plan

DAYS = pd.date_range("2021-01-04", periods=90)
VALUES = np.round(50 + 10 * np.sin(np.arange(90) * 2 * np.pi / 7) + np.arange(90) % 5 / 7, 2)


def daily(**columns):
    return pd.DataFrame({"date": DAYS.strftime("%Y-%m-%d"), **columns, "sales": VALUES})


def panel(*names, key="shop"):
    return pd.concat([daily(**{key: name}) for name in names], ignore_index=True)


def minutes(count, start="2024-01-01", **columns):
    stamps = pd.date_range(start, periods=count, freq="min")
    wave = np.round(np.sin(np.arange(count) / 9), 3) + 20
    return pd.DataFrame({"time": stamps, "speed": wave, "flow": np.round(wave * 3.1, 2), **columns})


def csv(frame, folder, name="shop.csv", **options):
    frame.to_csv(folder / name, index=False, **options)
    return name


def plain(folder):
    return csv(daily(promo=np.arange(90) % 2, stock=VALUES * 2, kind="a"), folder)


def decimal_comma(folder):
    frame = daily().assign(date=DAYS.strftime("%d.%m.%Y"))
    return csv(frame, folder, sep=";", decimal=",", encoding="cp1252")


def preamble(folder):
    text = "# exported by plant 7, 2024\n\n" + daily().to_csv(index=False, sep="\t")
    (folder / "shop.txt").write_text(text)
    return "shop.txt"


def utf16_without_a_mark(folder):
    (folder / "shop.csv").write_bytes(daily().to_csv(index=False).encode("utf-16-le"))
    return "shop.csv"


def second_sheet(folder):
    with pd.ExcelWriter(folder / "shop.xlsx", engine="openpyxl") as book:
        pd.DataFrame({"remark": ["made by hand"]}).to_excel(book, sheet_name="About", index=False)
        daily().to_excel(book, sheet_name="Sales", index=False, startrow=2)
    return "shop.xlsx"


def months_in_columns(folder):
    names = ("ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sep", "oct", "nov", "dic")
    months = {
        f"{name}-{year}": np.arange(12) + 10 * number for year in range(18, 22) for number, name in enumerate(names)
    }
    pd.DataFrame({"producto": [f"p{i}" for i in range(12)], "clase": "a", **months}).to_excel(
        folder / "shop.xlsx", index=False, engine="openpyxl"
    )
    return "shop.xlsx"


def numbered_columns(folder):
    values = {f"d_{day}": [day % 7, day % 5] for day in range(1, 91)}
    return csv(pd.DataFrame({"item_id": ["A", "B"], **values}), folder)


def ids_called_as_values(folder):
    values = {f"V{day}": [day % 7, day % 5] for day in range(2, 91)}
    return csv(pd.DataFrame({"V1": ["H1", "H2"], **values}), folder)


def a_column_for_each_series(folder):
    frame = pd.DataFrame(
        {"date": DAYS, **{city: VALUES + number for number, city in enumerate(("Rom", "Oslo", "Bern"))}}
    )
    return csv(frame, folder)


def folder_of_minutes(folder):
    (folder / "plant").mkdir()
    for day in ("13", "14"):
        frame = minutes(180, f"2024-01-{day}").assign(time=lambda frame: frame["time"].dt.strftime("%d/%m/%Y %H:%M"))
        csv(frame, folder / "plant", f"{day}.csv")
    (folder / "plant" / "README.txt").write_text("about these files")
    return "plant"


def labelled_sensors(folder):
    flags = (np.arange(200) > 170).astype(int)
    return csv(minutes(200, is_anomaly=flags, changepoint=flags, status="ok"), folder, sep=";")


def readings_by_tag(folder):
    frame = minutes(200).melt("time", var_name="tag", value_name="value").sort_values("time", kind="stable")
    return csv(frame, folder)


def sensor_of_another_rate(folder):
    slow = np.where(np.arange(200) % 10 == 0, 1.5 + np.arange(200) % 3, np.nan)
    return csv(minutes(200, slow=slow), folder)


def sensors_with_jitter(folder):
    frame = minutes(200)
    frame["time"] += pd.to_timedelta(np.arange(200) * 137 % 300, unit="ms")
    return csv(frame, folder)


def database(folder):
    with sqlite3.connect(folder / "shop.db") as connection:
        panel("North", "South").to_sql("daily sales", connection, index=False)
    connection.close()
    return f"sqlite:///{folder / 'shop.db'}"


def parquet(folder):
    panel("North", "South").assign(date=[*DAYS, *DAYS]).to_parquet(folder / "shop.parquet")
    return "shop.parquet"


def unix_seconds(folder):
    frame = daily().rename(columns={"date": "ts"})
    return csv(frame.assign(ts=pd.date_range("2021-01-01", periods=90, freq="h").astype("int64") // 10**6), folder)


def years(folder):
    return csv(pd.DataFrame({"year": range(1950, 2020), "y": np.arange(70) % 9}), folder)


def first_days_of_months(folder):
    months = pd.date_range("2015-01-01", periods=72, freq="MS").strftime("%d/%m/%Y")
    return csv(pd.DataFrame({"month": months, "y": np.arange(72) % 12}), folder)


def last_business_days(folder):
    months = pd.date_range("2015-01-01", periods=72, freq="BME")
    return csv(pd.DataFrame({"date": months, "close": np.arange(72) % 12 + 0.5}), folder)


def words_and_sentinels(folder):
    frame = daily().astype({"sales": object})
    frame.loc[[5, 30], "sales"], frame.loc[[40, 41], "sales"] = "Bad Input", -9999
    return csv(frame, folder)


def two_keys(folder):
    frames = [panel("a", "b", key="product").assign(region=region) for region in ("north", "south")]
    return csv(pd.concat(frames), folder)


def ids_in_digits(folder):
    return csv(panel("007", "012", key="sku"), folder)


def days_without_sales(folder):
    frame = panel("a", "b")
    frame["sales"] = frame["sales"].round().astype(int)
    return csv(frame.drop(index=[5, 17, 40, 130]), folder)


def holes_in_prices(folder):
    return csv(daily().rename(columns={"sales": "close"}).drop(index=[20, 21, 50]), folder)


def weekdays_only(folder):
    return csv(daily()[DAYS.day_of_week < 5], folder)


def short_series(folder):
    return csv(pd.concat([panel("a", "b", "c"), panel("new").tail(3)]), folder)


def transactions(folder):
    rng = np.random.default_rng(0)
    stamps = pd.Timestamp("2021-01-01") + pd.to_timedelta(np.sort(rng.integers(0, 90 * 24 * 12, 3000)) * 5, unit="min")
    frame = pd.DataFrame({"invoice": [f"i{n // 4}" for n in range(3000)], "item": rng.choice(["tea", "cup"], 3000)})
    return csv(frame.assign(date=stamps.floor("D"), quantity=rng.integers(1, 9, 3000)), folder)


def repeated_rows(folder):
    return csv(pd.concat([daily(), daily().tail(1)]), folder)


def corrected_rows(folder):
    return csv(pd.concat([daily(), daily().tail(1).assign(sales=99.0)]), folder)


def uneven_stamps(folder):
    gaps = np.cumsum(np.random.default_rng(1).integers(3, 9, 400))
    stamps = pd.Timestamp("2024-01-01") + pd.to_timedelta(gaps, unit="min")
    return csv(pd.DataFrame({"timestamp": stamps, "value": gaps % 7}), folder)


def clocks_put_forward(folder):
    stamps = pd.date_range("2022-03-20", periods=400, freq="h", tz="Europe/Berlin").tz_localize(None)
    return csv(pd.DataFrame({"time": stamps, "load": np.arange(400) % 24}), folder)


def sessions(folder):
    stamps = pd.date_range("2023-03-01 09:30", periods=60 * 24, freq="h")
    stamps = stamps[(stamps.day_of_week < 5) & (stamps.hour >= 9) & (stamps.hour <= 15)]
    return csv(pd.DataFrame({"date": stamps, "close": np.arange(len(stamps)) % 7 + 0.25}), folder)


TABLES = {
    plain: {"time": "date", "target": "sales", "series": (), "frequency": "D", "gaps": "error"},
    decimal_comma: {"target": "sales", "dates": "auto", "decimal": None},
    preamble: {"target": "sales", "skip": 2},
    utf16_without_a_mark: {"target": "sales", "encoding": "utf-16-le"},
    second_sheet: {"target": "sales", "sheet": "Sales", "skip": 2},
    months_in_columns: {"series": ("producto",), "wide": config.Wide(time="columns"), "frequency": "M"},
    a_column_for_each_series: {"series": ("series",), "target": "value", "wide": config.Wide(time="date")},
    folder_of_minutes: {"source": "plant/*.csv", "sensors": ("speed", "flow"), "frequency": "min"},
    labelled_sensors: {"sensors": ("speed", "flow"), "labels": "is_anomaly"},
    readings_by_tag: {"pivot": config.Pivot(names="tag", values="value"), "sensors": ()},
    sensor_of_another_rate: {"sensors": ("speed", "flow")},
    sensors_with_jitter: {"frequency": "min", "calendar": "observed"},
    database: {"query": 'SELECT * FROM "daily sales"', "series": ("shop",)},
    parquet: {"series": ("shop",), "time": "date"},
    unix_seconds: {"time": "ts", "time_unit": "s", "frequency": "h"},
    years: {"time": "year", "frequency": "Y", "time_unit": None},
    first_days_of_months: {"dates": "day-first", "frequency": "M"},
    last_business_days: {"frequency": "M", "target": "close"},
    words_and_sentinels: {"missing": ("Bad Input", -9999), "gaps": "ffill"},
    two_keys: {"series": ("product", "region")},
    ids_in_digits: {"series": ("sku",)},
    days_without_sales: {"gaps": "zero"},
    holes_in_prices: {"target": "close", "gaps": "ffill"},
    weekdays_only: {"frequency": "D", "gaps": "error"},
    short_series: {"series": ("shop",), "short": "drop"},
    transactions: {"series": ("item",), "target": "quantity", "aggregate": "sum", "frequency": "D"},
    repeated_rows: {"repeated": "first"},
    corrected_rows: {"repeated": "last"},
    uneven_stamps: {"frequency": "10min", "aggregate": "mean", "target": "value"},
    clocks_put_forward: {"time_zone": "Europe/Berlin", "frequency": "h", "gaps": "error"},
    sessions: {"frequency": "h", "calendar": None, "gaps": "error"},
}
"""Settings of `data` that each table gets."""
LOOKED_AT = {
    second_sheet: None,
    a_column_for_each_series: "Rom, Oslo, Bern are read as a series each",
    folder_of_minutes: None,
    sensor_of_another_rate: "few readings: slow",
    words_and_sentinels: "-9999, far from the others",
    transactions: "summed up",
    corrected_rows: "the last one counts",
    uneven_stamps: "by their mean",
    clocks_put_forward: "Europe/Berlin",
}
"""Words of the choices that a person is asked to look at; of other tables there is none."""


@pytest.fixture
def look(tmp_path, monkeypatch):
    """Looks at a table that a function writes; the draft, and the text of the file."""
    monkeypatch.chdir(tmp_path)

    def at(table, **wishes):
        source = table(tmp_path)
        draft = draft_experiment(source, Wishes(**wishes))
        return draft, experiment_text(draft, source)

    return at


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_a_table_gets_a_valid_file_that_reads_it_as_a_person_would(look, table):
    draft, text = look(table)
    plan = make_plan(config.parse(text), text, "jax")
    data, expected = plan.experiment.data, TABLES[table]
    assert {key: getattr(data, key) for key in expected} == expected
    assert len(plan.runs) == 4
    assert draft.question is None
    assert bool(draft.doubts) == bool(LOOKED_AT.get(table)), draft.doubts
    assert LOOKED_AT.get(table) is None or LOOKED_AT[table] in " ".join(draft.doubts)
    assert all(f"# CHECK: {doubt}" in text for doubt in draft.doubts)


@pytest.mark.parametrize("key", ["past", "future", "static", "period", "calendar", "time_zone", "transform"])
def test_what_is_commented_out_is_valid_too(look, key):
    _, text = look(
        lambda folder: csv(panel("a", "b").assign(promo=[0, 1] * 90, stock=VALUES.tolist() * 2, kind="x"), folder)
    )
    if key in ("future",):
        text = re.sub(r"\n  future: .*", "", text)
    if key == "transform":
        text = re.sub(r"\ntransform: .*", "", text)
    changed = re.sub(rf"(?m)^( *)# ({key}: )", r"\1\2", text, count=1)
    assert changed != text
    make_plan(config.parse(changed), changed, "jax")


def test_windows_of_a_level_that_wanders_are_read_as_changes_and_others_as_they_are(look):
    steps = np.random.default_rng(0).normal(0.05, 1.0, (2, 400)).cumsum(axis=1)
    prices = pd.DataFrame(
        {"date": pd.date_range("2021-01-04", periods=400), **dict(zip("ab", 100 + steps, strict=True))}
    )
    draft, text = look(lambda folder: csv(prices, folder, "prices.csv"))
    assert draft.content["baseline"]["scaling"] == "last"
    [line] = [line for line in text.splitlines() if line.startswith("baseline:")]
    assert re.search(r"scaling: last: .* as the level wanders \(.* \d+ times nearer", line)
    made = make_plan(config.parse(text), text, "jax")
    assert {run.configuration.window_scaling for run in made.runs.values()} == {"last"}
    draft, _ = look(lambda folder: csv(panel("a", "b"), folder))
    assert "scaling" not in draft.content["baseline"]
    assert draft.content["grid"]["scaling"] == ["none", "last"]


def test_numbered_columns_are_asked_for_their_first_date_and_step(look):
    for table, named in ((numbered_columns, "d_1 to d_90"), (ids_called_as_values, "V2 to V90")):
        with pytest.raises(DataError, match=rf"{named} seem to be periods: .* --start 2011-01-29 --frequency D"):
            look(table)
        _, text = look(table, start="2011-01-29", frequency="D")
        panel_of = make_plan(config.parse(text), text, "jax").panel
        assert panel_of.target.shape == (2, 90 if table is numbered_columns else 89)
        assert str(panel_of.times[0]) == "2011-01-29 00:00:00"


def test_numbered_columns_beside_stamps_are_series(look, monkeypatch):
    monkeypatch.setattr(period_columns, "MANY_NUMBERED", 12)
    table = pd.DataFrame({"date": DAYS, **{f"S{number}": VALUES + number for number in range(14)}})
    draft, _ = look(lambda folder: csv(table, folder))
    assert draft.content["data"]["wide"] == {"time": "date"}


@pytest.mark.parametrize(("choice", "first"), [("comma", 1.017), ("point", 1017.0)])
def test_a_reading_that_only_a_person_knows_is_asked_in_the_file(look, choice, first):
    thousands = [f"1,{17 + number:03}" for number in range(60)]
    draft, text = look(lambda folder: csv(daily().head(60).assign(sales=thousands), folder, sep="\t"))
    assert draft.question.setting == "decimal"
    assert "may be 1.017 (decimal comma) or 1017 (decimal point)" in re.sub(r"\s+", " ", text)
    with pytest.raises(DataError, match="decimal"):
        make_plan(config.parse(text), text, "jax")
    answered = text.replace(f"# decimal: {choice}", f"decimal: {choice}")
    assert make_plan(config.parse(answered), answered, "jax").panel.target[0, 0] == first


def test_days_that_may_be_months_are_asked_for_and_each_answer_is_valid(look):
    dates = [f"{1 + n % 12:02}/{1 + n * 5 % 12:02}/2021" for n in range(144)]
    dates = list(dict.fromkeys(dates))
    draft, text = look(lambda folder: csv(pd.DataFrame({"date": dates, "y": range(len(dates))}), folder))
    assert draft.question.choices == ("day-first", "month-first")
    assert text.count("# dates: ") == 2


REFUSED = {
    "no column of dates or times": lambda folder: csv(pd.DataFrame({"a": ["x", "y"], "b": [1.5, 2.5]}), folder),
    "has a currency sign or a unit; write 980.50": lambda folder: csv(daily().assign(sales=["$980.50"] * 90), folder),
    "'date' holds dates and 'time' times of a day; join them": lambda folder: csv(daily(time="10:30"), folder),
    "the column 'sales' occurs twice": lambda folder: csv(daily().set_axis(["sales", "sales"], axis=1), folder),
    "the series is too short": lambda folder: csv(daily().head(2), folder),
    "holds values such as": lambda folder: csv(daily(), folder, header=False),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_read_is_refused_with_the_reason(look, message):
    with pytest.raises(DataError, match=re.escape(message)):
        look(REFUSED[message])


def test_files_that_each_hold_a_series_are_not_mixed(look):
    def files(folder):
        for number in range(3):
            csv(daily().assign(sales=VALUES + number), folder, f"shop{number}.csv")
        return "shop*.csv"

    with pytest.raises(DataError, match="each file may be a series: add a column"):
        look(files)


def test_a_database_of_several_tables_is_asked_for_a_query(look, tmp_path):
    def tables(folder):
        with sqlite3.connect(folder / "shop.db") as connection:
            daily().to_sql("sales", connection, index=False)
            daily().to_sql("stock", connection, index=False)
        connection.close()
        return f"sqlite:///{folder / 'shop.db'}"

    with pytest.raises(ConfigError, match="--query 'SELECT . FROM sales'"):
        look(tables)
    (tmp_path / "shop.db").unlink()
    assert look(tables, query="SELECT * FROM stock")[0].content["data"]["query"] == "SELECT * FROM stock"


def test_statements_come_before_what_is_found(look):
    wishes = {"target": "stock", "series": ("kind",), "task": "probabilistic", "name": "mine"}
    _, text = look(plain, **wishes)
    experiment = config.parse(text)
    assert (experiment.data.target, experiment.data.series) == ("stock", ("kind",))
    assert (experiment.task, experiment.name) == ("probabilistic", "mine")
    assert look(labelled_sensors, target="flow")[0].content["task"] == "forecast"
    assert look(parquet, task="anomaly")[0].content["data"]["pivot"] == {"names": "shop", "values": "sales"}
    with pytest.raises(DataError, match="--task: anomaly needs a column of numbers for each sensor"):
        look(two_keys, task="anomaly")
    with pytest.raises(DataError, match="--target: shop.csv has no column 'sale'; did you mean 'sales'"):
        look(plain, target="sale")


@pytest.mark.parametrize(
    "names",
    [("Größe (cm)\n2", "1e5", "null", "# no"), ("yes", "a: b", "it's", 'say "x"'), ("2021-01-01", "-", "[x]", "{y}")],
)
def test_any_name_of_a_column_is_written_as_what_it_is(look, names):
    table = daily(**{name: VALUES + number for number, name in enumerate(names)})
    draft, text = look(lambda folder: csv(table, folder), target=names[0])
    assert config.parse(text).data.target == names[0].strip()
    past = next(option for option in draft.options if option.key == "past").value
    changed = re.sub(r"(?m)^  # past: ", "  past: ", text)
    assert list(config.parse(changed).data.past) == past
    assert {*names[1:], "sales"} == set(past)
