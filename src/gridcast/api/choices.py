"""Arguments that are one of a few words."""

from __future__ import annotations

from collections.abc import Sequence

from gridcast.runtime.errors import ConfigError, suggest


def check_choice(option: str, value: str, allowed: Sequence[str]) -> None:
    """Raise ConfigError unless `value` is one of the `allowed` values of an option."""
    if value not in allowed:
        choices = f"{suggest(value, allowed)} (allowed: {', '.join(allowed)})"
        raise ConfigError(f"{option}: '{value}' is not allowed{choices}")
