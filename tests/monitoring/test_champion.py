"""A champion is watched on a real store with a real small network: numbers by hand, alarms, the command."""

import contextlib
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gridcast import cli
from gridcast.api import folders
from gridcast.config import read
from gridcast.data import prediction_files
from gridcast.monitoring import champion, findings
from gridcast.monitoring.error_shift import measure_errors
from gridcast.monitoring.findings import CHAMPION_NAME, AlarmLimits
from gridcast.monitoring.prediction_log import CHAMPION, SHADOW, PredictionLog
from gridcast.monitoring.verdict import alarms_and_remarks
from gridcast.runtime.errors import DataError
from gridcast.sweep import plan, runner
from gridcast.sweep.events import SweepEvents
from gridcast.sweep.worker_job import WorkerSettings
from gridcast.tracking import mlflow_runs, model_loading, promotion, registry
from gridcast.tracking.store import open_store
from small_experiments import sales, write_experiment
from tracking_servers import Post

pytestmark = [
    pytest.mark.xdist_group("monitoring"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning"),  # MLflow's own imports
    pytest.mark.filterwarnings("ignore:.imghdr. is deprecated:DeprecationWarning"),  # and those of apprise
]

KNOWN, LATER = 200, 60
FRAME = sales(KNOWN + LATER, ("apple", "plum", "pear"))
STAMPS = pd.to_datetime(FRAME["date"])
END = pd.Timestamp("2023-01-02") + pd.Timedelta(days=KNOWN)
"""The first day that no sweep has seen; 160 days of training, 20 of validation and 20 of test lie before it."""
NEW = FRAME[(STAMPS >= END) & (FRAME["product"] != "apple")]
ASKED = NEW.head(3)
SECTIONS = {
    "name": "shop",
    "data": {"past": ["price"], "future": ["day_of_week"], "select": {"top": 2}},
    "window": {"lookback": 7, "horizon": 2},
    "baseline": {"units": 8, "dropout": 0.0, "learning_rate": 0.02, "batch_size": 32},
    "training": {"epochs": 8, "patience": 8},
    "baselines": ["last value"],
    "selection": {"promote_to": "shop", "when_beaten": "warn"},
}


@dataclass(frozen=True)
class Shop:
    """A folder with a store, an experiment on sales.csv and its champion."""

    folder: Path
    uri: str
    model: findings.WatchedModel

    def look(self, table, served=None, **limits):
        """The findings of the monitor for `table`, written to a file and read back."""
        path = self.folder / "actuals.csv"
        table.to_csv(path, index=False)
        return champion.monitor(
            self.model,
            prediction_files.read_series_table(path, self.model.preprocessing),
            AlarmLimits(**limits),
            served=served,
        )


@pytest.fixture(scope="module")
def shop(tmp_path_factory, programs, jax_backend):
    folder = tmp_path_factory.mktemp("watched")
    FRAME[STAMPS < END].to_csv(folder / "sales.csv", index=False)
    path = write_experiment(folder / "shop.yaml", str(folder / "sales.csv"), **SECTIONS)
    planned, uri = plan.make_plan(read(path), path.read_text(), "jax"), f"sqlite:///{folder}/mlflow.db"
    with contextlib.chdir(folder):
        store = open_store("shop", uri)
        result = runner.run_sweep(planned, store, WorkerSettings(1, "jax", programs), SweepEvents())
    promotion.promote(
        planned.experiment,
        store,
        result.winner,
        test_measures=result.test_measures,
        evaluate_champion=lambda _: {"mase": np.inf},
    )
    about = json.loads(mlflow_runs.read_artifact(store, result.sweep_id, "sweep.json"))
    loaded = model_loading.load_model("shop", uri)
    model = champion.watched_model(loaded, store, parent=result.sweep_id, about=about, plan=planned)
    return Shop(folder, uri, model)


@pytest.fixture(scope="module")
def fresh(shop):
    return shop.look(NEW)


def test_on_the_test_span_itself_everything_is_as_it_was_at_promotion(shop):
    found = shop.look(FRAME[STAMPS < END])
    assert (found.first, found.steps, found.series) == (END - pd.Timedelta(days=20), 20, 2)
    assert found.errors["name"].tolist()[:2] == [CHAMPION_NAME, "last value"]
    for measure in ("mase", "mae", "rmse"):
        np.testing.assert_allclose(found.errors[measure], found.errors[f"{measure}_before"], rtol=1e-5)
    assert found.ratio == pytest.approx(1, rel=1e-5)
    assert found.p_value == pytest.approx(0.5, abs=0.01)


def test_fresh_rows_of_the_same_kind_raise_no_alarm(fresh):
    assert fresh.alarms == ()
    assert fresh.headline == "shop version 1 raises no alarm: nothing exceeds its limit."
    assert "No feature drifted past its limit: quantity, price. Stretches of" in fresh.verdict
    assert (fresh.first, fresh.steps, fresh.series) == (END, LATER, 2)


def test_the_yardstick_says_whether_it_is_selected(shop, fresh):
    own = "The error on the test span, the yardstick, is not selected: no other network was tested there."
    assert own in fresh.remarks
    mase = float(fresh.champion["mase_before"])
    assert [look.error for look in shop.model.looks] == [pytest.approx(mase)]
    other = replace(shop.model.looks[0], run_id="other", error=1.5 * mase)
    _, remarks = alarms_and_remarks(replace(fresh, model=replace(shop.model, looks=[*shop.model.looks, other])))
    assert own not in remarks
    assert (
        "The error on the test span, the yardstick, is not corrected for selection: 2 networks were tested there. If "
        "these 2 networks are equally good, the MASE of the best of them is about 25 % too low."
    ) in remarks


def test_the_live_errors_are_those_that_a_hand_finds(shop, fresh):
    # The model: each window through its own door, from the rows up to its origin.
    rows = FRAME[FRAME["product"] != "apple"]
    origin = END + pd.Timedelta(days=30)
    given = rows[pd.to_datetime(rows["date"]) < origin]
    forecasts = shop.model.loaded.predict(given).set_index(["product", "date"])["forecast"]
    live = fresh.live_forecasts[fresh.live_forecasts["time"].isin([origin, origin + pd.Timedelta(days=1)])]
    own = live[(live["time"] - origin).dt.days == live["step"] - 1].set_index(["series", "time"])["forecast"]
    assert len(own) == 4
    np.testing.assert_allclose(own.sort_index(), forecasts.sort_index(), rtol=1e-4)
    # The last value, one and two steps ahead of each origin.
    wide = rows.assign(date=pd.to_datetime(rows["date"])).pivot_table("quantity", "date", "product")
    at = np.arange(KNOWN, KNOWN + LATER - 1)
    errors = [np.abs(wide.to_numpy()[at + ahead] - wide.to_numpy()[at - 1]) for ahead in (0, 1)]
    last = fresh.errors.set_index("name").loc["last value"]
    assert last["mae"] == pytest.approx(np.mean(errors))
    scale = wide.iloc[:160].diff().abs().mean()
    assert last["mase"] == pytest.approx(np.mean([(one / scale.to_numpy()).mean() for one in errors]))


def test_more_sold_than_ever_is_an_error_and_a_drift(shop):
    found = shop.look(NEW.assign(quantity=NEW["quantity"] * 1.8))
    assert found.ratio > 1.25
    assert found.p_value < 0.01
    assert found.drift.set_index(["feature", "view"]).loc[("quantity", "value"), "drifted"]
    verdict = found.verdict
    assert verdict.startswith("shop version 1 needs a look: ")
    assert "times the" in verdict
    assert "The values of quantity are higher than in training: PSI" in verdict
    medians = found.movers[found.movers["feature"] == "quantity"].set_index("series")
    assert medians.loc["pear", "now"] == pytest.approx(1.8 * NEW.loc[NEW["product"] == "pear", "quantity"].median())
    assert "price" not in set(found.movers["feature"])


def test_a_price_that_stands_still_is_told(shop):
    broken = NEW["price"].where((NEW["product"] != "plum") | (pd.to_datetime(NEW["date"]) < "2023-08-25"), 6.5)
    found = shop.look(NEW.assign(price=broken))
    (row,) = found.stuck.to_dict("records")
    days = (pd.to_datetime(NEW["date"]).max() - pd.Timestamp("2023-08-25")).days + 1
    assert row == {"feature": "price", "series": "plum", "steps": days, "usual": 10, "value": 6.5}
    assert f"price is stuck: that of plum has been 6.5 for the last {days} steps (limit 10" in found.verdict


def test_other_units_of_a_covariate_are_a_drift_of_it_alone(shop):
    found = shop.look(NEW.assign(price=100 * NEW["price"]))
    assert set(found.drift.loc[found.drift["drifted"], "feature"]) == {"price"}


def test_one_outlier_neither_makes_nor_hides_an_alarm_and_is_named(shop):
    at = NEW.index[(NEW["product"] == "pear") & (NEW["date"] == "2023-08-20")]
    spoilt = NEW.assign(quantity=NEW["quantity"].where(~NEW.index.isin(at), -9999.0))
    found = shop.look(spoilt)
    assert found.ratio > 5
    assert found.shift.ratio < 1.5
    assert found.alarms == ()
    assert "as it was when it was promoted" not in found.verdict
    assert f"{found.shift.off} steps" in found.verdict
    assert found.worst.series == "pear"
    assert found.worst.time == pd.Timestamp("2023-08-20")
    worse = shop.look(spoilt.assign(quantity=spoilt["quantity"].where(spoilt.index.isin(at), spoilt["quantity"] * 1.8)))
    assert any(alarm.startswith("Its error on 60 judged steps of 60 new ones") for alarm in worse.alarms)


@pytest.mark.parametrize("column", ["mase", "mase_before"])
def test_nan_is_never_within_a_limit(fresh, column):
    errors = fresh.errors.copy()
    errors.loc[0, column] = np.nan
    found = replace(fresh, errors=errors)
    alarms, _ = alarms_and_remarks(found)
    assert alarms[0].startswith("Its error on 60 new steps, 2023-07-21 to 2023-09-18, cannot be judged: ")
    assert replace(found, alarms=alarms).headline == "shop version 1 needs a look: 1 alarm."


def test_a_forecast_that_is_no_number_is_an_alarm(fresh):
    broken = fresh.live_forecasts.assign(forecast=np.nan)
    shift = measure_errors(np.array([]), np.ones(9), overlap=1, reach=1)
    errors = fresh.errors.assign(mase=np.nan)
    alarms, _ = alarms_and_remarks(replace(fresh, live_forecasts=broken, shift=shift, errors=errors))
    assert f"cannot be judged: {len(broken)} of {len(broken)} forecasts are not finite numbers." in alarms[0]


def test_too_few_steps_to_judge_are_an_alarm_that_says_so(fresh):
    shift = measure_errors(np.ones(2), np.ones(9), overlap=1, reach=1)
    alarms, _ = alarms_and_remarks(replace(fresh, shift=shift))
    assert alarms[0].endswith("cannot be judged: 2 of them have an actual value and a forecast, at least 3 are needed.")


def test_a_feature_that_was_not_compared_is_not_called_free_of_drift(fresh):
    drift = fresh.drift.assign(p_value=fresh.drift["p_value"].where(fresh.drift["feature"] != "price"))
    _, remarks = alarms_and_remarks(replace(fresh, drift=drift))
    assert any(remark.startswith("No feature drifted past its limit: quantity. Stretches") for remark in remarks)
    assert "Not judged, with too few values: price (value), price (change)." in remarks


def test_limits_can_be_moved(shop):
    assert shop.look(NEW.assign(quantity=NEW["quantity"] * 1.8), error=50, psi=50, coverage=1).alarms == ()


def test_a_series_that_the_experiment_leaves_out_is_left_out_here(shop, fresh):
    found = shop.look(FRAME[STAMPS >= END])
    assert found.notes == ("1 series that the experiment excludes are ignored",)
    pd.testing.assert_frame_equal(found.errors, fresh.errors)
    with pytest.raises(DataError, match="no row belongs to a series that the model forecasts"):
        shop.look(FRAME[(STAMPS >= END) & (FRAME["product"] == "apple")])


def said(product, day, *values, rolled=(False, False, True)):
    """Forecasts as a model gives them, from `day` on."""
    times = pd.date_range(day, periods=len(values))
    frame = pd.DataFrame({"product": product, "date": times, "forecast": values})
    spread = {"q0.1": frame["forecast"] - 1, "q0.9": frame["forecast"] + 1}
    return frame.assign(**spread, rolled_forward=list(rolled[: len(values)]))


def add(log, request, model, version, forecasts, role=CHAMPION):
    log.add(request, model=model, version=version, history=ASKED, forecasts=forecasts, role=role)


@pytest.fixture
def served(shop, tmp_path):
    """A log of forecasts around the actual values of pear: 0.5 too high, then 3, then 0.5; the challenger is close."""
    own, path = PredictionLog(tmp_path / "kept.db", 1000), tmp_path / "kept.db"
    pear = NEW[NEW["product"] == "pear"].set_index("date")["quantity"]
    days = [f"2023-08-{day:02}" for day in range(1, 31)]
    for number, day in enumerate(days):
        off = 3 if number % 3 == 1 else 0.5
        request = f"r{number}"
        add(own, request, "shop", "1", said("pear", day, pear[day] + off, 1e6, 1e6, rolled=(False, True, True)))
        if number < 20:
            add(own, request, "next", "7", said("pear", day, pear[day] + 0.25), SHADOW)
    add(own, "again", "shop", "1", said("pear", days[0], pear[days[0]] + 0.5))
    add(own, "other", "shop", "2", said("pear", days[0], 1e6))
    add(own, "later", "shop", "1", said("pear", "2024-03-01", 1e6))
    own.close()
    return path


def test_kept_forecasts_are_judged_as_they_were_served(shop, served):
    found = shop.look(NEW, served)
    assert len(found.live_forecasts) == 30
    assert set(found.live_forecasts["step"]) == {1}
    assert found.errors.loc[0, "mae"] == pytest.approx((20 * 0.5 + 10 * 3) / 30)
    # Baselines on the same points.
    wide = FRAME[FRAME["product"] == "pear"].set_index("date")["quantity"]
    expected = wide.diff().abs()[[f"2023-08-{day:02}" for day in range(1, 31)]].mean()
    assert found.errors.set_index("name").loc["last value", "mae"] == pytest.approx(expected)


def test_the_cover_of_served_intervals_is_counted(shop, served):
    found = shop.look(NEW, served)
    assert found.coverage.nominal == pytest.approx(0.8)
    assert found.coverage.live == pytest.approx(20 / 30)
    assert np.isnan(found.coverage.test)
    assert "Its 80 % interval covers 66.7 % of the new values (limit 70 %)." in found.verdict


def test_a_challenger_is_compared_on_the_requests_that_both_answered(shop, served):
    found = shop.look(NEW, served)
    (row,) = found.challengers.to_dict("records")
    assert (row["name"], row["forecasts"]) == ("next version 7", 20)
    assert row["mase"] / row["champion"] == pytest.approx(0.25 / ((13 * 0.5 + 7 * 3) / 20))
    assert row["percent"] == pytest.approx(100 * (row["mase"] / row["champion"] - 1))
    assert row["p_value"] < 0.01
    assert "The challenger next version 7 has an error" in found.verdict
    assert "% below that of the champion on 20 forecasts of the same requests (p " in found.verdict


def test_kept_forecasts_of_other_versions_or_times_are_refused(shop, tmp_path):
    own = PredictionLog(tmp_path / "kept.db", 100)
    add(own, "a", "shop", "9", said("pear", "2023-08-01", 1.0))
    own.close()
    with pytest.raises(DataError, match="has no forecasts of shop version 1 .only of version 9"):
        shop.look(NEW, tmp_path / "kept.db")
    own = PredictionLog(tmp_path / "kept.db", 100)
    add(own, "b", "shop", "1", said("pear", "2024-08-01", 1.0))
    own.close()
    with pytest.raises(DataError, match="none of the 1 logged forecasts of shop version 1 is for a time in the table"):
        shop.look(NEW, tmp_path / "kept.db")


@pytest.fixture
def command(shop, programs, monkeypatch, capsys):
    """Runs `gridcast monitor WORDS` in the folder of the shop; gives exit code, output and errors."""

    def run(*words):
        monkeypatch.chdir(shop.folder)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", shop.uri)
        monkeypatch.setattr(folders, "CACHE", programs)
        monkeypatch.setattr(sys, "argv", ["gridcast", "monitor", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        return ended.value.code or 0, shown.out, shown.err

    return run


def test_the_command_writes_a_page_and_metrics_and_ends_well_without_an_alarm(shop, command):
    NEW.to_csv(shop.folder / "fresh.csv", index=False)
    code, out, err = command("shop", "fresh.csv")
    assert (code, err) == (0, "")
    assert "nothing exceeds its limit" in out
    page = (shop.folder / "reports" / "shop" / "monitor.html").read_text()
    assert "shop version 1 raises no alarm: nothing" in page
    assert page.count("<svg") == 3
    assert "http" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "https://matplotlib.org", ""
    ).replace("http://creativecommons.org", "")
    (run,) = mlflow_runs.search_runs(shop.model.store, f"tags.`{mlflow_runs.KIND_TAG}` = 'monitor'")
    assert run.data.tags["gridcast.model_version"] == "1"
    assert run.data.metrics["alarms"] == 0
    assert run.data.metrics["live_mase"] / run.data.metrics["mase_at_promotion"] == pytest.approx(
        run.data.metrics["error_ratio"]
    )
    assert run.data.metrics["psi_value_price"] >= 0
    assert mlflow_runs.read_artifact(shop.model.store, run.info.run_id, "monitor.html").decode() == page


def test_wrong_input_ends_with_2_and_says_what_to_do(shop, command):
    folder = shop.folder
    NEW.to_csv(folder / "fresh.csv", index=False)
    NEW.rename(columns={"price": "prize"}).to_csv(folder / "columns.csv", index=False)
    NEW.assign(product=NEW["product"].replace("plum", "plumm")).to_csv(folder / "series.csv", index=False)
    FRAME[STAMPS < "2023-06-01"].to_csv(folder / "old.csv", index=False)
    NEW.head(1).to_csv(folder / "short.csv", index=False)
    NEW.assign(date=NEW["date"] + " 06:30").to_csv(folder / "off.csv", index=False)
    (folder / "empty.csv").write_text("date,product,quantity,price\n")
    refused = {
        ("shop", "none.csv"): "none.csv: cannot be read",
        ("shop", "empty.csv"): "empty.csv: no rows",
        ("shop", "columns.csv"): "no column 'price' (data.past); did you mean 'prize'?",
        ("shop", "series.csv"): "series.csv: series 'plumm' was not in the training data; did you mean 'plum'?",
        ("shop", "old.csv"): "old.csv: no row with a 'quantity' after 2023-06-30, up to when",
        (
            "shop",
            "short.csv",
        ): "short.csv: none of the 1 new steps can be forecast: a forecast reads 7 consecutive steps",
        ("shop", "fresh.csv", "--served", "kept.db"): "kept.db: no such file; the prediction log is written by",
        ("shop", "fresh.csv", "--retrain", "gone.csv"): "no file matches 'gone.csv'",
        ("shop", "fresh.csv", "--max-error", "-1"): "--max-error",
        ("shop", "fresh.csv", "--alert", "nosuch://x"): "address 1 (scheme: nosuch)",
    }
    for words, message in refused.items():
        code, _, err = command(*words)
        assert message in err, (words, err)
        assert code == 2, (words, err)


def test_an_unknown_model_is_named_with_those_that_there_are(shop, command):
    NEW.to_csv(shop.folder / "fresh.csv", index=False)
    code, _, err = command("shpo", "fresh.csv")
    assert code == 2
    assert "no registered model 'shpo'; did you mean 'shop'?" in err


@pytest.mark.slow
def test_an_alarm_ends_with_1_tells_people_and_trains_again_through_the_gates(shop, command):
    pytest.importorskip("apprise")
    more = FRAME.assign(quantity=FRAME["quantity"].where(STAMPS < END, FRAME["quantity"] * 1.8))
    more[STAMPS >= END].to_csv(shop.folder / "more.csv", index=False)
    more.to_csv(shop.folder / "all.csv", index=False)
    with Post() as post:
        words = "--alert", post.url, "--retrain", "all.csv", "--workers", "1"
        code, out, err = command("shop", "more.csv", *words)
    assert code == 1
    assert err.splitlines()[-1].startswith("error: shop version 1 needs a look: ")
    (notice,) = post.got
    assert notice["title"].startswith("shop version 1 needs a look: ")
    assert "The values of quantity are higher than in training" in notice["message"]
    assert "The values of quantity are higher than in training" in out
    assert "Training again on the new data; the gates decide" in out
    assert "1 runs trained" in out
    version = shop.model.store.client.get_model_version_by_alias("shop", registry.CHAMPION)
    told = "shop: version 2 is the champion" in out
    assert told == (str(version.version) == "2")
    assert told or "was not promoted, the gate" in out
    # The page of the monitor outlives the report of the sweep, and the sweep can be watched in its turn.
    assert (shop.folder / "reports" / "shop" / "monitor.html").exists()
    (parent, *_) = mlflow_runs.search_runs(shop.model.store, f"tags.`{mlflow_runs.KIND_TAG}` = 'sweep'")
    assert (
        "source: all.csv" in mlflow_runs.read_artifact(shop.model.store, parent.info.run_id, "experiment.yaml").decode()
    )
