"""The prediction log keeps its bound, is written from many threads, and fails no request."""

import contextlib
import logging
import sqlite3
import threading

import pandas as pd
import pytest

from gridcast.monitoring import prediction_log
from gridcast.monitoring.prediction_log import CHAMPION, MODEL, REQUEST, SERVED, SHADOW, VERSION, PredictionLog
from gridcast.runtime.errors import ConfigError, DataError


def history(steps=3, product="01"):
    times = pd.date_range("2024-01-01", periods=steps)
    return pd.DataFrame({"product": product, "date": times, "quantity": [1.5, *range(steps - 1)]})


def forecasts(value=7.0, product="01"):
    return pd.DataFrame({"product": [product], "date": pd.to_datetime(["2024-01-04"]), "forecast": [value]})


def add(log, request, model, version, history, forecasts, role=CHAMPION):
    log.add(request, model=model, version=version, history=history, forecasts=forecasts, role=role)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kept.db"


def test_the_folder_of_the_log_is_made(tmp_path):
    PredictionLog(tmp_path / "new" / "serving" / "kept.db", 100).close()
    assert (tmp_path / "new" / "serving" / "kept.db").exists()


def test_what_was_added_comes_back_as_it_was(path):
    own = PredictionLog(path, 100)
    add(own, "a", "shop", "3", history(), forecasts())
    add(own, "b", "shop", "4", history(2), forecasts(8.0))
    own.close()
    told, brought = prediction_log.read_predictions(path, "shop")
    assert told[REQUEST].tolist() == ["a", "b"]
    assert told[VERSION].tolist() == ["3", "4"]
    assert told[MODEL].tolist() == ["shop", "shop"]
    assert told["forecast"].tolist() == [7.0, 8.0]
    assert brought[REQUEST].tolist() == ["a", "a", "a", "b", "b"]
    # An id keeps its leading zero, a stamp stays a stamp.
    expected = pd.concat([history(), history(2)], ignore_index=True)
    pd.testing.assert_frame_equal(brought[["product", "date", "quantity"]], expected)
    assert abs(told[SERVED] - pd.Timestamp.now("UTC").tz_localize(None)).max() < pd.Timedelta("1h")


def test_roles_and_models_are_told_apart(path):
    own = PredictionLog(path, 100)
    add(own, "a", "shop", "3", history(), forecasts())
    add(own, "a", "next", "1", history(), forecasts(9.0), SHADOW)
    add(own, "b", "till", "1", history(), forecasts(5.0))
    own.close()
    assert prediction_log.read_predictions(path, "shop")[0]["forecast"].tolist() == [7.0]
    assert prediction_log.read_predictions(path, role=SHADOW)[0][[MODEL, "forecast"]].to_numpy().tolist() == [
        ["next", 9.0]
    ]
    assert prediction_log.read_predictions(path)[0]["forecast"].tolist() == [7.0, 5.0]
    assert [len(frame) for frame in prediction_log.read_predictions(path, "shop", SHADOW)] == [0, 0]


def test_the_oldest_go_first_and_the_bound_holds_for_rows_of_inputs_and_forecasts(path):
    own = PredictionLog(path, 10)
    for number in range(9):
        add(own, str(number), "shop", "1", history(2), forecasts())  # three rows each
    own.close()
    told, brought = prediction_log.read_predictions(path, "shop")
    assert told[REQUEST].tolist() == ["6", "7", "8"]
    assert len(told) + len(brought) == 9
    PredictionLog(path, 5).close()  # a smaller bound counts from the next request on
    assert len(prediction_log.read_predictions(path, "shop")[0]) == 3
    smaller = PredictionLog(path, 5)
    add(smaller, "9", "shop", "1", history(2), forecasts())
    smaller.close()
    assert prediction_log.read_predictions(path, "shop")[0][REQUEST].tolist() == ["9"]


def test_many_threads_add_at_once_and_nothing_is_lost_or_doubled(path):
    own, threads = PredictionLog(path, 10_000), []
    for name in "abcdef":
        added = [(f"{name}{number}", "shop", "1", history(1), forecasts()) for number in range(30)]
        threads.append(threading.Thread(target=lambda added=added: [add(own, *one) for one in added]))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    own.close()
    asked = prediction_log.read_predictions(path, "shop")[0][REQUEST]
    assert sorted(asked) == sorted(f"{name}{number}" for name in "abcdef" for number in range(30))


def test_two_writers_share_a_file_and_its_bound(path):
    one, other = PredictionLog(path, 12), PredictionLog(path, 12)
    for number in range(6):
        add(one if number % 2 else other, str(number), "shop", "1", history(2), forecasts())
    one.close()
    other.close()
    assert len(prediction_log.read_predictions(path, "shop")[0]) == 4


def test_what_cannot_be_kept_is_told_once_and_takes_no_other_request_with_it(path, caplog):
    own = PredictionLog(path, 100)
    mixed = forecasts().assign(forecast=[object()])
    with caplog.at_level(logging.WARNING):
        add(own, "a", "shop", "1", history(), mixed)
        add(own, "b", "shop", "1", history(), forecasts())
        add(own, "c", "shop", "1", history(), mixed)
        own.close()
    assert prediction_log.read_predictions(path, "shop")[0][REQUEST].tolist() == ["b"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "some forecasts are not logged" in caplog.text


def test_a_table_that_is_lost_in_between_fails_no_request(path, caplog):
    own = PredictionLog(path, 100)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP TABLE served")
    with caplog.at_level(logging.WARNING):
        add(own, "a", "shop", "1", history(), forecasts())
        add(own, "b", "shop", "1", history(), forecasts())
        own.close()
    assert len(caplog.records) == 1


def test_wrong_files_and_bounds_are_refused(path, tmp_path):
    with pytest.raises(ConfigError, match="at least 1 row .got 0."):
        PredictionLog(path, 0)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be used as a prediction log"):
        PredictionLog(tmp_path / "file" / "kept.db", 10)
    with pytest.raises(DataError, match=r"kept\.db: no such file"):
        prediction_log.read_predictions(path, "shop")
    path.write_text("product,date\n" * 100)
    with pytest.raises(DataError, match="is no prediction log"):
        prediction_log.read_predictions(path, "shop")
    path.write_bytes(b"")
    with pytest.raises(DataError, match="is no prediction log"):
        prediction_log.read_predictions(path, "shop")
    path.unlink()
    own = PredictionLog(path, 10)
    add(own, "a", "shop", "1", history(), forecasts())
    own.close()
    with pytest.raises(DataError, match=r"the model 'shp'; did you mean 'shop'\? \(it has: shop\)"):
        prediction_log.read_predictions(path, "shp")
