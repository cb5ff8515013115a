"""What the endpoints share: the service that they belong to, and how they read and answer."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from gridcast.serving import json_logging
from gridcast.serving.access_log import Book
from gridcast.serving.api_keys import Keys
from gridcast.serving.models.pool import Models
from gridcast.serving.models.shadow import Aside
from gridcast.serving.prometheus import Counters
from gridcast.serving.rate_limits import Buckets
from gridcast.serving.settings import Settings

LOG = logging.getLogger(json_logging.NAME)


@dataclass(frozen=True)
class Service:
    """What the endpoints share."""

    settings: Settings
    models: Models
    keys: Keys
    counters: Counters
    book: Book
    aside: Aside
    own: Buckets
    addresses: Buckets
    started: float
