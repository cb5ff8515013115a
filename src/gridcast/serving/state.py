"""The state that all endpoints share."""

from __future__ import annotations

from dataclasses import dataclass

from gridcast.serving.access_log import AccessLog
from gridcast.serving.admin_token_alarm import AdminTokenAlarm
from gridcast.serving.api_keys import ApiKeys
from gridcast.serving.models.pool import ModelPool
from gridcast.serving.models.shadow import ShadowDeployment
from gridcast.serving.prometheus import PrometheusMetrics
from gridcast.serving.rate_limits import TokenBuckets
from gridcast.serving.settings import Settings
from gridcast.serving.work_queue import WorkQueue


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """Everything that lives as long as a service; it started at `started` seconds since 1970."""

    settings: Settings
    models: ModelPool
    shadow: ShadowDeployment
    keys: ApiKeys
    key_buckets: TokenBuckets
    address_buckets: TokenBuckets
    metrics: PrometheusMetrics
    access_log: AccessLog
    admin_token_alarm: AdminTokenAlarm
    small_work: WorkQueue
    large_work: WorkQueue
    started: float
