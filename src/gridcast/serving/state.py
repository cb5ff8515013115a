"""What the endpoints share: the service that they belong to, and how they read and answer."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from gridcast.serving import json_logging
from gridcast.serving.access_log import AccessLog
from gridcast.serving.api_keys import ApiKeys
from gridcast.serving.models.pool import ModelPool
from gridcast.serving.models.shadow import ShadowDeployment
from gridcast.serving.prometheus import PrometheusMetrics
from gridcast.serving.rate_limits import TokenBuckets
from gridcast.serving.settings import Settings

LOG = logging.getLogger(json_logging.LOGGER_NAME)


@dataclass(frozen=True)
class ServiceState:
    """What the endpoints share."""

    settings: Settings
    models: ModelPool
    keys: ApiKeys
    counters: PrometheusMetrics
    book: AccessLog
    aside: ShadowDeployment
    own: TokenBuckets
    addresses: TokenBuckets
    started: float
