"""The deployable whole: forecasts in data units from a tidy table."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gridcast.data import prediction_files
from gridcast.evaluation import service_examples
from gridcast.runtime import gaps, loading
from gridcast.runtime.errors import DataError
from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.input_rows import InputRows
from gridcast.runtime.loading import load
from gridcast.runtime.network_inputs import network_inputs
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.runtime.quantiles import Quantiles
from gridcast.serving.payloads.request_frames import series_frame
from small_experiments import planned, sales
from untrained_models import untrained_files

pytestmark = pytest.mark.usefixtures("jax_backend")

DAYS, LOOKBACK, HORIZON = 100, 7, 2
PRODUCTS = ("101", "202", "303")
SECTIONS = {
    "data": {
        "past": ["price"],
        "future": ["day_of_week", "promotion"],
        "static": ["shelf"],
        "calendar": "regular",
        "blanks": "ffill",
    },
    "window": {"lookback": LOOKBACK, "horizon": HORIZON},
    "transform": {"log1p": True},
    "baseline": {"attention": True},
}
FRAME = sales(DAYS, PRODUCTS).assign(shelf=lambda t: "s" + t["product"].str[0])
FRAME["promotion"] = (np.arange(len(FRAME)) % 5 == 0).astype(float)
DATES = sorted(FRAME["date"].unique())


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return planned(tmp_path_factory.mktemp("forecaster"), FRAME, **SECTIONS)


@pytest.fixture(scope="module")
def files(plan, jax_backend):
    return untrained_files(plan.dataset, plan.reference_run)


@pytest.fixture(scope="module")
def forecaster(files):

    return loading.load_from_bytes(files)


def history(until, days=20, ahead=HORIZON):
    """What is known before day `until`: the last `days` whole, then future columns only."""
    table = FRAME[FRAME["date"].isin(DATES[until - days : until + ahead])].copy()
    table.loc[table["date"] >= DATES[until], ["quantity", "price"]] = np.nan
    return table.drop(columns="shelf").reset_index(drop=True)


def on_panel(forecaster, plan, until):
    """Forecasts (series, horizon) of the window at `until`, from the panel itself."""
    index = np.stack([np.arange(3), np.full(3, until)], axis=1)
    return forecaster.forecast(plan.dataset.channels, index, plan.dataset.series_codes)


def wide(found):
    return found["forecast"].to_numpy().reshape(3, -1)


@pytest.mark.parametrize("until", [30, 80, DAYS - HORIZON])
def test_forecasts_equal_those_on_the_panel_for_the_same_window(forecaster, plan, until):
    found = forecaster.predict(history(until))
    np.testing.assert_allclose(wide(found), on_panel(forecaster, plan, until), rtol=1e-5)
    assert list(found) == ["product", "date", "forecast", "rolled_forward"]
    assert found["product"].tolist() == [product for product in PRODUCTS for _ in range(HORIZON)]
    assert found["date"].dt.strftime("%Y-%m-%d").tolist() == DATES[until : until + HORIZON] * 3
    assert not found["rolled_forward"].any()


def test_neither_order_nor_index_nor_types_of_the_rows_matter(forecaster, plan):
    table, expected = history(80), on_panel(forecaster, plan, 80)
    given = [
        table.iloc[::-1].sort_values("product", kind="stable"),
        table.set_index(np.zeros(len(table), int)),
        table.assign(product=table["product"].astype(int)),
        table.assign(date=pd.to_datetime(table["date"])),
        table.assign(date=pd.to_datetime(table["date"]).dt.tz_localize("UTC")),
        table.assign(date=table["date"] + "T01:00:00+01:00"),
        table.assign(date=pd.to_datetime(table["date"]).dt.date),
        table.assign(quantity=table["quantity"].astype(str)),
        table.assign(note="more than was asked for"),
    ]
    for other in given:
        np.testing.assert_allclose(wide(forecaster.predict(other)), expected, rtol=1e-5)


def test_only_the_series_of_the_table_are_forecast_in_its_order(forecaster, plan):
    table = history(80)
    some = pd.concat([table[table["product"] == "303"], table[table["product"] == "101"]])
    found = forecaster.predict(some)
    assert found["product"].tolist() == ["303", "303", "101", "101"]
    np.testing.assert_allclose(
        found["forecast"].to_numpy().reshape(2, 2), on_panel(forecaster, plan, 80)[[2, 0]], rtol=1e-5
    )


def test_history_beyond_the_lookback_does_not_matter_on_a_regular_axis(forecaster, plan):
    found = forecaster.predict(history(80, days=LOOKBACK))
    np.testing.assert_allclose(wide(found), on_panel(forecaster, plan, 80), rtol=1e-5)


def test_series_that_end_on_different_days_are_each_forecast_from_their_own_end(forecaster, plan):
    table = history(80, ahead=4)
    late = table["product"] == "202"
    table.loc[late & (table["date"] == DATES[79]), ["quantity", "price"]] = np.nan
    found = forecaster.predict(table)
    assert found["date"].dt.strftime("%Y-%m-%d").tolist() == DATES[80:82] + DATES[79:81] + DATES[80:82]
    np.testing.assert_allclose(wide(found)[1], on_panel(forecaster, plan, 79)[1], rtol=1e-5)
    np.testing.assert_allclose(wide(found)[0], on_panel(forecaster, plan, 80)[0], rtol=1e-5)


def test_beyond_the_trained_horizon_forecasts_are_fed_back_and_marked(forecaster):
    table = history(80, ahead=6)
    found = forecaster.predict(table, {"horizon": 5})
    assert len(found) == 3 * 5
    assert found["rolled_forward"].tolist() == [False, False, True, True, True] * 3
    fed = table.copy()
    for row in forecaster.predict(table).itertuples():
        at = (fed["product"] == row.product) & (fed["date"] == f"{row.date:%Y-%m-%d}")
        last = fed.loc[(fed["product"] == row.product) & (fed["date"] == DATES[79]), "price"].item()
        fed.loc[at, ["quantity", "price"]] = row.forecast, last  # past columns keep their last value
    np.testing.assert_allclose(wide(found)[:, 2:4], wide(forecaster.predict(fed)), rtol=1e-5)


def test_a_shorter_horizon_is_the_beginning_of_the_whole_one(forecaster):
    whole, first = forecaster.predict(history(80)), forecaster.predict(history(80), {"horizon": 1})
    np.testing.assert_array_equal(wide(first), wide(whole)[:, :1])


@pytest.mark.parametrize("policy", ["zero", "ffill", "interpolate"])
def test_gaps_are_filled_as_in_training(forecaster, policy):
    own = replace(forecaster, preprocessing=replace(forecaster.preprocessing, gaps=policy))
    given = history(80)
    product = given["product"] == "202"
    missing = product & given["date"].isin([DATES[75], DATES[76]])
    given.loc[missing, ["quantity", "price"]] = np.nan
    past = product & (given["date"] < DATES[80])
    filled = given.copy()
    filled.loc[missing, "promotion"] = np.nan  # in training a row without a target is no row
    for column, how in (("quantity", policy), ("price", "ffill"), ("promotion", "ffill")):
        filled.loc[past, column] = gaps.fill(filled.loc[past, column].to_numpy()[None], how)[0]
    np.testing.assert_allclose(wide(own.predict(given)), wide(own.predict(filled)), rtol=1e-5)
    with pytest.raises(DataError, match=r"^series '202': 5 of the last 7 steps of history have a value; the model"):
        forecaster.predict(given)


def test_a_row_without_a_target_is_no_row_within_history_as_in_training(forecaster):
    own = replace(forecaster, preprocessing=replace(forecaster.preprocessing, gaps="ffill"))
    given = history(80)
    missing = (given["product"] == "202") & given["date"].isin([DATES[75], DATES[76]])
    given.loc[missing, "quantity"] = np.nan
    told = given.assign(
        price=given["price"].where(~missing, 99.0).where(given["date"] < DATES[80], 99.0),
        promotion=given["promotion"].mask(missing, 1 - given["promotion"]),
    )
    expected = own.predict(given[~missing])
    for table in (given, told):
        pd.testing.assert_frame_equal(own.predict(table), expected)


OFF = [DATES[25], DATES[60]]


def shop():
    """No Sundays and two more days off; each product misses days on which the others are sold."""
    dates = pd.to_datetime(FRAME["date"])
    missed = dates.dt.day_of_year % 3 == FRAME["product"].map(PRODUCTS.index)
    return FRAME[(dates.dt.day_of_week != 6) & ~FRAME["date"].isin(OFF) & ~missed]


class Sum:
    """A network that answers with a sum in which each number that it reads has another weight."""

    def predict_on_batch(self, read):
        history = read["history"].reshape(len(read["history"]), -1)
        return np.repeat(history @ np.arange(1, history.shape[1] + 1)[:, None], HORIZON, axis=1)


@pytest.mark.parametrize("policy", ["zero", "ffill", "interpolate"])
def test_a_table_of_one_series_is_read_on_the_calendar_of_all(tmp_path, policy):
    data = {"past": ["price"], "calendar": "observed", "gaps": policy}
    found = planned(tmp_path, shop(), data=data, window=SECTIONS["window"])
    own, panel, channels = found.dataset.preprocessing, found.panel, found.dataset.channels
    assert (own.weekdays, own.closed_dates) == ((0, 1, 2, 3, 4, 5), tuple(OFF))
    own = Preprocessing.from_json(json.loads(json.dumps(own.to_json())))
    for code, product in enumerate(PRODUCTS):
        sold = shop()[shop()["product"] == product]
        for until in (30, 65, DAYS):
            table = sold[sold["date"] < DATES[until - 1]]
            origin = panel.times.get_loc(pd.Timestamp(table["date"].max())) + 1
            expected = Forecaster(own, Sum()).forecast(channels, np.array([[code, origin]]), found.dataset.series_codes)
            forecast = Forecaster(own, Sum()).predict(table)["forecast"].to_numpy()
            np.testing.assert_allclose(forecast, expected[0], rtol=1e-5)


def test_without_gaps_to_fill_the_table_alone_shows_an_observed_calendar(tmp_path):
    found = planned(tmp_path, FRAME[~FRAME["date"].isin(OFF)], data={"calendar": "observed"})
    assert found.dataset.preprocessing.closed_dates is None


def test_dates_that_a_history_file_does_not_explain_are_refused_with_a_remedy_at_hand(plan, tmp_path):
    path = tmp_path / "history.csv"
    FRAME.assign(date="01/02/2023").to_csv(path, index=False)
    with pytest.raises(DataError, match=r"dates of this table do not tell day from month; write them as 2011-"):
        prediction_files.read_series_table(path, plan.dataset.preprocessing)


def test_a_past_column_never_seen_falls_back_on_its_training_median(forecaster):
    table = history(80)
    medians = FRAME[FRAME["date"] < DATES[80]].groupby("product")["price"].median()
    filled = table.assign(price=table["product"].map(medians))
    np.testing.assert_allclose(
        wide(forecaster.predict(table.assign(price=np.nan))), wide(forecaster.predict(filled)), rtol=1e-5
    )


def changed(**columns):
    table = history(80).astype({"quantity": object, "product": object, "date": object})
    for column, value in columns.items():
        table.loc[5, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (history(80).replace("202", "2022"), "series '2022' was not in the training data; did you mean '202'?"),
        (history(80, days=6), "series '101': 6 of the last 7 steps of history have a value; the model reads 7"),
        (
            history(80, ahead=1),
            "column 'promotion': series '101' has no value at 2023-03-24 00:00:00; a future column must be known for "
            "each of the 2 steps ahead: add rows with it and an empty 'quantity'",
        ),
        (
            history(80).rename(columns={"price": "prices"}),
            "no column 'price'; did you mean 'prices'? (needed: product, date, quantity, price, promotion)",
        ),
        (history(80).assign(quantity=np.nan), "column 'quantity': no value; history needs 7 steps per series"),
        (history(80).iloc[:0], "the table has no rows"),
        (changed(date="soon"), "column 'date', row 5: 'soon' is not a date such as 2011-12-31"),
        (changed(date="31/01/2023"), "column 'date', row 5: '31/01/2023' is not a date such as 2011-12-31"),
        (changed(date=None), "column 'date', row 5: 'None' is not a date"),
        (changed(date="2023-03-09 06:00"), "time 2023-03-09 06:00:00 is off the axis of frequency D"),
        (changed(quantity="many"), "column 'quantity', row 5: 'many' is not a number"),
        (changed(quantity=float("inf")), "column 'quantity', row 5: infinite value"),
        (changed(date=DATES[60]), f"row 5: series '101' at {DATES[60]} 00:00:00 occurs twice"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(forecaster, table, told):
    with pytest.raises(DataError) as caught:
        forecaster.predict(table)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("horizon", [0, -3])
def test_a_horizon_below_one_is_refused(forecaster, horizon):
    with pytest.raises(DataError, match=rf"^horizon: must be at least 1 \(got {horizon}\)$"):
        forecaster.predict(history(80), {"horizon": horizon})


def test_columns_of_any_name_and_composite_ids_come_back_as_they_were_given(forecaster):
    """The network does not care what columns and ids are called."""
    own = replace(
        forecaster.preprocessing,
        time="when",
        target="time",
        keys=("series", "shop"),
        series=("a/b/1", "c/1", "c/2"),
        past=("target",),
    )
    names = {"101": ("a/b", 1), "202": ("c", 1), "303": ("c", 2)}
    table = history(80).rename(columns={"date": "when", "quantity": "time", "price": "target"})
    table["series"], table["shop"] = zip(*table.pop("product").map(names), strict=True)
    found = Forecaster(own, forecaster.network).predict(table)
    assert found[["series", "shop"]].drop_duplicates().to_numpy().tolist() == [["a/b", "1"], ["c", "1"], ["c", "2"]]
    np.testing.assert_array_equal(wide(found), wide(forecaster.predict(history(80))))


def test_the_shares_of_attention_are_one_per_step_and_add_up(forecaster, plan):
    index = plan.dataset.origins("test", LOOKBACK)[:4]
    window = network_inputs(forecaster.preprocessing, plan.dataset.channels, index, plan.dataset.series_codes)
    shares = forecaster.attention_weights(window)
    assert shares.shape == (4, LOOKBACK)
    assert shares.min() > 0
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)


def test_a_network_without_attention_has_no_shares_to_show(plan):
    from gridcast.training import keras_fit

    run = replace(
        plan.reference_run, configuration=plan.reference_run.configuration.model_copy(update={"attention": False})
    )
    plain = Forecaster(plan.dataset.preprocessing, keras_fit.compiled_network(plan.dataset, run))
    with pytest.raises(ValueError, match=r"^the network has no attention; train one with attention: true$"):
        plain.attention_weights({})


def test_a_folder_with_both_files_is_a_forecaster(forecaster, files, tmp_path):
    assert set(files) == {"model.keras", "forecaster.json"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    np.testing.assert_array_equal(wide(load(tmp_path).predict(history(80))), wide(forecaster.predict(history(80))))


def test_tables_on_axes_of_their_own_are_answered_together_as_each_would_be_alone(forecaster):
    asked, alone = [], []
    for until, days, product in ((80, 20, "101"), (60, 9, "303"), (95, 40, "202")):
        table = history(until, days, ahead=4)
        table = table[table["product"] == product]
        values = table[["quantity", "price", "promotion"]].to_numpy(float).T
        where, times = np.zeros(len(table), int), pd.to_datetime(table["date"]).to_numpy()
        asked.append(forecaster.input_from_rows(InputRows([product], where, times, values), 4))
        alone.append(forecaster.predict(table, {"horizon": 4})["forecast"].to_numpy())
    found = forecaster.forecast_all(asked, 4)
    assert [one.shape for one in found] == [(1, 4, 1)] * 3
    for one, own in zip(found, alone, strict=True):
        np.testing.assert_allclose(one[0, :, 0], own, rtol=1e-5)


def test_a_long_history_is_placed_no_further_back_than_it_is_read(forecaster):
    table = history(90, days=80)
    values = table[["quantity", "price", "promotion"]].to_numpy(float).T
    where = pd.Index(PRODUCTS).get_indexer(table["product"])
    rows = InputRows(PRODUCTS, where, pd.to_datetime(table["date"]).to_numpy(), values)
    placed = forecaster.input_from_rows(rows, HORIZON)
    assert placed.target.shape == (3, LOOKBACK + HORIZON)
    assert placed.origin.tolist() == [LOOKBACK] * 3


def test_a_kept_example_ends_where_the_last_future_that_is_known_begins(forecaster, plan):
    kept = service_examples.request_examples(plan.panel, forecaster.preprocessing, LOOKBACK)
    assert [one["id"] for one in kept] == list(PRODUCTS)
    assert {step["time"] for one in kept for step in one["future"]} == set(DATES[-HORIZON:])
    assert {tuple(step) for one in kept for step in one["history"]} == {("time", "value", "price", "promotion")}
    table = pd.concat([series_frame(forecaster.preprocessing, one) for one in kept])
    np.testing.assert_allclose(wide(forecaster.predict(table)), on_panel(forecaster, plan, DAYS - HORIZON), rtol=1e-5)


def test_a_history_that_log1p_cannot_read_is_refused_with_its_place_and_a_remedy(forecaster):
    table = history(80)
    row = table.index[(table["product"] == "202") & (table["date"] == DATES[75])]
    table.loc[row, "quantity"] = -3.0
    with pytest.raises(DataError) as refused:
        forecaster.predict(table)
    assert str(refused.value) == (
        f"column 'quantity': series '202' is '-3' at {DATES[75]} 00:00:00, and log1p needs values above -1; correct "
        "the value, leave it out, or train a model without log1p"
    )


def test_a_forecast_that_is_not_finite_is_an_error_that_names_the_value(forecaster):
    class Broken:
        def predict_on_batch(self, inputs):
            return np.where(inputs["series"][:, None] == 1, np.nan, np.zeros((len(inputs["series"]), HORIZON)))

    broken = replace(forecaster, network=Broken())
    table = history(80)
    with pytest.raises(DataError, match="series '202': its forecast is not a finite number; the largest value"):
        broken.predict(table)
    assert np.isfinite(broken.predict(table[table["product"] != "202"])["forecast"]).all()


def test_what_a_likelihood_of_counts_needs_is_checked_in_use_too(forecaster):
    quantiles = Quantiles("negative-binomial", (0.5,), 10)
    member = replace(forecaster, quantiles=quantiles)
    for model in (member, replace(forecaster, members=(member,))):
        with pytest.raises(DataError, match="and negative-binomial needs whole numbers from 0 on"):
            model.read_table(history(80), HORIZON)
    forecaster.read_table(history(80), HORIZON)
