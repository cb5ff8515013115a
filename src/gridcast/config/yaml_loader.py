"""The YAML of experiment files: data without code, of a size and depth that a person writes."""

from __future__ import annotations

import re
from typing import Any

import yaml

MAX_DEPTH = 50
"""Levels of lists and mappings within each other."""
MAX_NODES = 50_000
"""Values of a file, those that an alias (`*name`) repeats counted each time."""
NODE_LENGTH = 64
"""Characters of a text that count as a value."""


class ExperimentLoader(yaml.SafeLoader):
    """A SafeLoader that reads 1e-3 as a number (YAML 1.1 requires 1.0e-3), and dates as text.

    It refuses repeated keys, numbers that Python does not read, and files that grow without bound. Raises
    yaml.MarkedYAMLError.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = self._nodes = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next node. Raises ComposerError where the limits are exceeded."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            node = super().compose_node(parent, index)
            size = self._sizes.get(id(node))
            if size is None:
                raise _error(f"'*{event.anchor}' stands within what it repeats", event.start_mark)
            self._nodes += size
        else:
            begun = self._nodes
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise _error(f"more than {MAX_DEPTH} levels of lists and mappings", event.start_mark)
            self._nodes += 1 + len(getattr(event, "value", None) or "") // NODE_LENGTH
            node = super().compose_node(parent, index)
            self._depth -= 1
            self._sizes[id(node)] = self._nodes - begun
        if self._nodes > MAX_NODES:
            raise _error(f"more than {MAX_NODES:,} values, repeated ones included", event.start_mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping with plain words as keys, each once."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _error("a key must be a plain word", key.start_mark)
            if key.value in seen:
                raise _error(f"the key '{key.value}' occurs twice; keep one of them", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Return the value of a node."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, OverflowError, TypeError, AttributeError):
            text = f"'{str(node.value)[:40]}'" if isinstance(node, yaml.ScalarNode) else "this"
            kind = node.tag.rpartition(":")[2]
            raise _error(f"{text} cannot be read as {kind}", node.start_mark) from None


def _error(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)


ExperimentLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)
# YAML would turn a date into a date object; here it stays text, which the format of the data decides how to read.
ExperimentLoader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
    for first, pairs in ExperimentLoader.yaml_implicit_resolvers.items()
}
