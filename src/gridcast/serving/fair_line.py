"""A waiting line in which clients take turns."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairLine(Generic[Item]):
    """A line that gives its items out in turns between clients, however many items each of them has."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[Item]] = {}
        """The items of each client, the client whose turn it is first."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, client: str, item: Item, *, is_next: bool = False) -> None:
        """Put an item of `client` behind its others, or before them."""
        line = self._lines.setdefault(client, deque())
        if is_next:
            line.appendleft(item)
        else:
            line.append(item)
        self._count += 1

    def take(self) -> Item:
        """Remove and return the next item; its client is the last in turn then."""
        client = next(iter(self._lines))
        line = self._lines.pop(client)
        item = line.popleft()
        if line:
            self._lines[client] = line
        self._count -= 1
        return item
