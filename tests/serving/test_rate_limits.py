"""Token buckets, with a clock that is set by hand."""

from gridcast.serving import rate_limits
from gridcast.serving.rate_limits import TokenBuckets


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_a_burst_passes_then_one_for_each_token_that_comes_in():
    clock = Clock()
    buckets = TokenBuckets(rate=2.0, burst=3, clock=clock)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    clock.now += 0.5
    assert [buckets.take("a") for _ in range(2)] == [0, 0.5]


def test_nobody_pays_for_another_and_nobody_saves_more_than_a_burst():
    clock = Clock()
    buckets = TokenBuckets(rate=1.0, burst=2, clock=clock)
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 1]
    assert buckets.take("b") == 0
    clock.now += 3600
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 1]


def test_a_refusal_takes_no_token():
    clock = Clock()
    buckets = TokenBuckets(rate=1.0, burst=1, clock=clock)
    assert buckets.take("a") == 0
    assert [buckets.take("a") for _ in range(5)] == [1] * 5
    clock.now += 1
    assert buckets.take("a") == 0


def test_a_rate_of_zero_sets_no_limit():
    buckets = TokenBuckets(rate=0, burst=1)
    assert {buckets.take("a") for _ in range(100)} == {0}


def test_a_crowd_of_addresses_does_not_fill_the_memory_and_the_last_ones_stay_limited(monkeypatch):
    monkeypatch.setattr(rate_limits, "MAX_BUCKETS", 100)
    buckets = TokenBuckets(rate=1.0, burst=2, clock=Clock())
    for number in range(1000):
        buckets.take(str(number))
        buckets.take(str(number))
    assert len(buckets._buckets) <= 101
    assert buckets.take("999") == 1
