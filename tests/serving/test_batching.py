"""Who arrives together is answered together."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gridcast.serving.models.batching import MAX_BATCH, Batcher


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as made:
        yield made


class Network:
    """Answers with tens, and keeps what it was asked in one call; it may be held up."""

    def __init__(self):
        self.calls = []
        self.free = threading.Event()
        self.free.set()

    def __call__(self, items):
        self.calls.append(list(items))
        self.free.wait(10)
        return [ValueError(str(item)) if item < 0 else 10 * item for item in items]


def test_items_of_one_moment_are_one_call(pool):
    network = Network()

    async def ask():
        batcher = Batcher(network, pool, seconds=0.002)
        return await asyncio.gather(*(batcher.submit(number) for number in range(5)))

    assert asyncio.run(ask()) == [0, 10, 20, 30, 40]
    assert network.calls == [[0, 1, 2, 3, 4]]


def test_light_items_need_no_thread_and_one_that_is_alone_waits_for_nobody(pool):
    calls = []

    def network(items):
        calls.append((items, threading.current_thread() is here))
        return [ValueError("no") if item == 3 else item for item in items]

    async def ask():
        batcher = Batcher(network, pool, seconds=0.002, is_light=lambda item: item < 10)
        alone = batcher.submit(0)
        with pytest.raises(StopIteration, match="0"):  # without a turn of the loop
            alone.send(None)
        await asyncio.sleep(0)
        light = await asyncio.gather(*(batcher.submit(number) for number in (1, 2, 4)))
        heavy = await asyncio.gather(batcher.submit(5), batcher.submit(11))
        with pytest.raises(ValueError, match="no"):
            await batcher.submit(3)
        return light + heavy

    here = threading.current_thread()
    assert asyncio.run(ask()) == [1, 2, 4, 5, 11]
    assert calls == [([0], True), ([1], True), ([2, 4], True), ([5, 11], False), ([3], True)]


def test_what_comes_during_a_call_goes_with_the_next_one(pool):
    network = Network()

    async def ask():
        batcher = Batcher(network, pool, seconds=0.002)
        network.free.clear()
        first = asyncio.create_task(batcher.submit(1))
        while not network.calls:
            await asyncio.sleep(0.001)
        rest = [asyncio.create_task(batcher.submit(number)) for number in (2, 3, 4)]
        await asyncio.sleep(0.01)
        network.free.set()
        return await asyncio.gather(first, *rest)

    assert asyncio.run(ask()) == [10, 20, 30, 40]
    assert network.calls == [[1], [2, 3, 4]]


def test_after_a_crowd_one_waits_for_others_but_not_for_ever(pool):
    network = Network()

    async def ask():
        batcher = Batcher(network, pool, seconds=0.2)
        await asyncio.gather(batcher.submit(1), batcher.submit(2))
        early = asyncio.create_task(batcher.submit(3))
        await asyncio.sleep(0.01)
        assert network.calls == [[1, 2]]
        await asyncio.gather(early, batcher.submit(4))
        await batcher.submit(5)
        await batcher.submit(6)

    asyncio.run(ask())
    assert network.calls == [[1, 2], [3, 4], [5], [6]]


def test_who_is_refused_takes_no_other_with_him(pool):
    network = Network()

    async def ask():
        batcher = Batcher(network, pool, seconds=0.002)
        return await asyncio.gather(*(batcher.submit(number) for number in (1, -2, 3)), return_exceptions=True)

    one, refused, three = asyncio.run(ask())
    assert (one, three) == (10, 30)
    assert isinstance(refused, ValueError)


def test_a_call_that_fails_fails_for_all_of_it_and_the_next_one_is_answered(pool):
    calls = []

    def network(items):
        calls.append(items)
        if len(calls) == 1:
            raise RuntimeError("gone")
        return items

    async def ask():
        batcher = Batcher(network, pool, seconds=0.002)
        first = await asyncio.gather(batcher.submit(1), batcher.submit(2), return_exceptions=True)
        return first, await batcher.submit(3)

    first, second = asyncio.run(ask())
    assert [type(error) for error in first] == [RuntimeError, RuntimeError]
    assert second == 3


def test_who_gave_up_is_not_asked_for(pool):
    network = Network()

    async def ask():
        batcher = Batcher(network, pool, seconds=0.002)
        network.free.clear()
        first = asyncio.create_task(batcher.submit(1))
        while not network.calls:
            await asyncio.sleep(0.001)
        impatient, patient = asyncio.create_task(batcher.submit(2)), asyncio.create_task(batcher.submit(3))
        await asyncio.sleep(0.01)
        impatient.cancel()
        network.free.set()
        assert await asyncio.gather(first, patient) == [10, 30]

    asyncio.run(ask())
    assert network.calls == [[1], [3]]


def test_a_call_is_never_larger_than_the_largest_program_wants(pool):
    network = Network()

    async def ask():
        batcher = Batcher(network, pool, seconds=0.002)
        return await asyncio.gather(*(batcher.submit(number) for number in range(MAX_BATCH + 5)))

    assert asyncio.run(ask()) == [10 * number for number in range(MAX_BATCH + 5)]
    assert [len(call) for call in network.calls] == [MAX_BATCH, 5]
