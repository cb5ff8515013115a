"""Permutation importance of forecasters whose needs are known."""

import numpy as np
import pytest

from gridcast.evaluation import permutation_importance

LOOKBACK, HORIZON = 4, 2


@pytest.fixture
def panel():
    """Channels (2 series, 60 steps, 5): target, price, idle, and the two channels of a cycle."""
    channels = np.random.default_rng(1).normal(size=(2, 60, 5))
    index = np.array([(series, origin) for series in range(2) for origin in range(LOOKBACK, 59)])
    return channels, index


def forecast(channels, index, codes):
    """Twice the second last target, the last price, and the cycle ahead; each series at a level of its own."""
    rows, at = index.T
    ahead = channels[rows[:, None], at[:, None] + np.arange(HORIZON), 3:].sum(axis=2)
    return (2 * channels[rows, at - 2, 0] + channels[rows, at - 1, 1] + 10 * codes[rows])[:, None] + ahead


def parts():
    channels = ["sales", "price", "idle", "week", "week"]
    return permutation_importance.input_parts(channels, first_known_ahead=3, lookback=LOOKBACK, horizon=HORIZON)


def windows(channels, index, actual, scale=(1.0, 1.0)):
    return permutation_importance.ScoredWindows(channels, index, np.arange(2), actual, np.array(scale))


def permuted(panel, scale=(1.0, 1.0), seed=0):
    channels, index = panel
    noise = np.random.default_rng(2).normal(size=(len(index), HORIZON))
    actual = forecast(channels, index, np.arange(2)) + noise
    generator = np.random.default_rng(seed)
    importance = permutation_importance.part_importance(
        forecast, windows(channels, index, actual, scale), parts(), generator=generator
    )
    return importance, np.abs(noise)


def test_only_what_is_read_makes_the_error_rise(panel):
    (error, frame), noise = permuted(panel)
    rises = frame.set_index("name")["rise"]
    assert error == pytest.approx(noise.mean())
    assert rises[["idle", "lag 1", "lag 3", "lag 4"]].tolist() == [0, 0, 0, 0]
    assert rises["sales"] > rises["price"] > 20
    assert rises["lag 2"] > 20
    assert rises["week"] > 20
    assert (frame.set_index("name").loc[["price", "week", "lag 2"], "spread"] > 0).all()


def test_a_part_that_is_the_same_in_all_windows_has_no_rise(panel):
    channels, index = panel
    channels[:, :, 2] = 1.0
    frame = permuted((channels, index))[0][1].set_index("name")
    assert np.isnan(frame.loc["idle", ["rise", "spread"]].astype(float)).all()
    assert frame.drop(index="idle")["rise"].notna().all()


def test_the_panel_itself_is_left_as_it_was(panel):
    before = panel[0].copy()
    permuted(panel)
    np.testing.assert_array_equal(panel[0], before)


def test_the_same_generator_gives_the_same_numbers_and_another_does_not(panel):
    one, again, other = (permuted(panel, seed=seed)[0][1] for seed in (0, 0, 1))
    assert one.equals(again)
    assert not one.equals(other)


def test_series_whose_unit_is_zero_do_not_count(panel):
    (error, _), noise = permuted(panel, scale=(0.5, 0.0))
    assert error == pytest.approx(noise[panel[1][:, 0] == 0].mean() / 0.5)


def test_a_forecaster_without_error_has_no_rise(panel):
    channels, index = panel
    actual = forecast(channels, index, np.arange(2))
    generator = np.random.default_rng(0)
    error, frame = permutation_importance.part_importance(
        forecast, windows(channels, index, actual), parts(), generator=generator
    )
    assert error == 0
    assert frame["rise"].isna().all()


def test_a_window_that_reaches_back_before_the_first_step_finds_nothing_there(panel):
    channels, _ = panel
    seen = []

    def look(rows, index, codes):
        seen.append(np.isnan(rows).any(axis=2))
        return np.zeros((len(index), HORIZON))

    index = np.array([[0, 1], [1, 9]])
    permutation_importance.part_importance(
        look, windows(channels, index, np.ones((2, HORIZON))), parts()[:1], generator=np.random.default_rng(0)
    )
    assert seen[0].tolist() == [[True] * 3 + [False] * 3, [False] * 6]


def test_sine_and_cosine_are_one_part_and_future_parts_reach_ahead():
    by_name = {
        part.name: part
        for part in permutation_importance.input_parts(
            ["sales", "price", "promo", "week", "week"], first_known_ahead=2, lookback=3, horizon=2
        )
    }
    assert by_name["sales"] == permutation_importance.InputPart("sales", "target", (0,), -3, 0)
    assert by_name["price"] == permutation_importance.InputPart("price", "covariate", (1,), -3, 0)
    assert by_name["promo"] == permutation_importance.InputPart("promo", "covariate", (2,), -3, 2)
    assert by_name["week"] == permutation_importance.InputPart("week", "covariate", (3, 4), -3, 2)
    assert by_name["lag 1"] == permutation_importance.InputPart("lag 1", "lag", (0,), -1, 0)


def test_far_lags_come_in_blocks_that_together_make_the_lookback():
    lags = [
        part
        for part in permutation_importance.input_parts(["sales"], first_known_ahead=1, lookback=168, horizon=1)
        if part.kind == "lag"
    ]
    assert [part.name for part in lags[23:]] == ["lag 24", "lags 25-48", "lags 49-96", "lags 97-168"]
    assert sorted(step for part in lags for step in range(part.first, part.end)) == list(range(-168, 0))


def test_attention_by_lag_begins_with_the_nearest():
    attention = permutation_importance.attention_by_lag(np.array([[0.1, 0.3, 0.6], [0.3, 0.3, 0.4]]))
    assert attention["lag"].tolist() == [1, 2, 3]
    assert attention["share"].tolist() == pytest.approx([50, 30, 20])
    assert attention["spread"].tolist() == pytest.approx([10, 0, 10])
