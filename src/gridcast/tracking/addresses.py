"""Addresses of stores and servers, with and without user and password."""

from __future__ import annotations

import re
import urllib.parse


def without_credentials(text: str) -> str:
    """`text` without the user and the password that the address of a store may carry."""
    return re.sub(r"://[^\s/]*@", "://", text)


def split_credentials(url: str) -> tuple[str, str]:
    """Return an address without user and password, and these as `user:password`, decoded; empty if there are none."""
    parts = urllib.parse.urlsplit(url)
    user, separator, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=host).geturl() if separator else url, urllib.parse.unquote(user)
