"""Where the work of a request is done, and what it costs its client."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from fastapi import Request

from gridcast.serving import request_costs
from gridcast.serving.client_addresses import rate_group
from gridcast.serving.http import context_of, state_of
from gridcast.serving.rate_limits import check_wait

T = TypeVar("T")


def charge(request: Request, cost: float, where: str) -> None:
    """Let the client pay for a request that costs so many milliseconds, beyond the token that each request takes.

    Raises HttpError: 422 if it is too much for one request, 429 if the client still pays for earlier ones.
    """
    state, context = state_of(request), context_of(request)
    request_costs.check_cost(cost, state.settings.limits, where)
    tokens = cost / request_costs.TOKEN - 1
    if tokens <= 0:
        return
    if context.key:
        check_wait(state.key_buckets.take(context.key, tokens, least=0), "key")
    else:
        check_wait(state.address_buckets.take(rate_group(context.client), tokens, least=0), "address")


async def in_turn(request: Request, cost: float, work: Callable[[], T]) -> T:
    """Return the result of `work` that takes about `cost` milliseconds: at once if that is little, else in a thread.

    Clients take turns; and what is small does not wait for what is large. A request that is begun is ended before its
    client's others begin.
    """
    if cost <= request_costs.MAX_ON_LOOP:
        return work()
    state, context = state_of(request), context_of(request)
    queue = state.small_work if cost <= request_costs.MAX_SMALL else state.large_work
    is_begun, context.is_begun = context.is_begun, True
    return await queue.run(context.client, work, is_next=is_begun)
