"""Addresses of stores and servers, with and without user and password: the one place that hides these."""

from __future__ import annotations

import os
import re
import urllib.parse

ADDRESS_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
_ADDRESS = re.compile(r"([A-Za-z][\w+.-]*://)(\S+)")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\](:\d+)?|localhost|[\w-]+(\.[\w-]+)+|[\w.-]+:\d+)(?![\w@])")
"""The beginning of what can only be a host: it has a port or a dot, or is this one."""
_SECRET = re.compile(r"(?i)([?&;][\w.-]*(?:password|passwd|pwd|token|secret|signature|credential)[\w.-]*=)[^\s&;'\"]+")


def without_credentials(text: str) -> str:
    """Return `text` without the user and the password that the addresses in it may carry.

    Values of parameters such as `?password=` become `***`.
    """
    for variable in ADDRESS_VARIABLES:  # whose passwords may have blanks and more
        scheme, separator, rest = os.environ.get(variable, "").partition("://")
        if separator and _user(rest):
            text = text.replace(f"{scheme}://{rest.rpartition('@')[0]}@", f"{scheme}://")
    return _SECRET.sub(r"\1***", _ADDRESS.sub(_without_user, text))


def split_credentials(url: str) -> tuple[str, str]:
    """Return an address without user and password, and these as `user:password`, decoded; empty if there are none."""
    scheme, separator, rest = url.partition("://")
    user = _user(rest) if separator else ""
    return (f"{scheme}://{rest[len(user) + 1 :]}", urllib.parse.unquote(user)) if user else (url, "")


def readable_address(url: str) -> str:
    """Return an address that every program reads alike: characters that would end its host are encoded in a password.

    Others stay as they are.
    """
    scheme, separator, rest = url.partition("://")
    user = _user(rest) if separator else ""
    if not re.search(r"[/?#\s]", user):
        return url
    encoded = re.sub(r"[/?#@\s]", lambda match: urllib.parse.quote(match[0], safe=""), user)
    return f"{scheme}://{encoded}@{rest[len(user) + 1 :]}"


def _without_user(match: re.Match[str]) -> str:
    user = _user(match[2])
    return f"{match[1]}{match[2][len(user) + 1 :]}" if user else match[0]


def _user(rest: str) -> str:
    """The user and the password at the beginning of what follows the scheme of an address, empty if there are none.

    A password may have slashes, as in `anna:open/sesame@host:5000`: the last @ with a host behind it ends it.
    """
    ends = [match.start() for match in re.finditer("@", rest)]
    for end in reversed(ends):
        before = rest[:end]
        if not re.search(r"[/?#]", before) or (re.match("[^/?#:@]*:", before) and _HOST.match(rest, end + 1)):
            return before
    # Nobody has such a host, so that it is a password with a slash after all.
    name, colon, port = re.split(r"[/?#]", rest, maxsplit=1)[0].partition(":")
    is_no_port = bool(name and colon and port and not name.startswith("[") and not port.isdigit())
    return rest[: ends[-1]] if ends and is_no_port else ""
