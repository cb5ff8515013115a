"""Addresses of stores and servers as they may be printed."""

from __future__ import annotations

import re


def without_credentials(text: str) -> str:
    """`text` without the user and the password that the address of a store may carry."""
    return re.sub(r"://[^\s/]*@", "://", text)
