"""One YAML grid and a table of time series become tracked, compared and served recurrent networks.

The names of `__all__` are imported when they are first used, and with them what they need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gridcast.api.backtest import backtest
    from gridcast.api.detection import follow
    from gridcast.api.detections import detect
    from gridcast.api.estimator import GridForecaster
    from gridcast.api.finished_sweep import Sweep
    from gridcast.api.models import load
    from gridcast.api.monitor import monitor
    from gridcast.api.running import run
    from gridcast.api.sweeps import plan, promote, report, rollback, validate
    from gridcast.config import Experiment

__version__ = "0.2.0"
__all__ = [
    "Experiment",
    "GridForecaster",
    "Sweep",
    "__version__",
    "backtest",
    "detect",
    "follow",
    "load",
    "monitor",
    "plan",
    "promote",
    "report",
    "rollback",
    "run",
    "validate",
]

_MODULES = {
    "Experiment": "gridcast.config",
    "GridForecaster": "gridcast.api.estimator",
    "Sweep": "gridcast.api.finished_sweep",
    "backtest": "gridcast.api.backtest",
    "detect": "gridcast.api.detections",
    "follow": "gridcast.api.detection",
    "load": "gridcast.api.models",
    "monitor": "gridcast.api.monitor",
    "plan": "gridcast.api.sweeps",
    "promote": "gridcast.api.sweeps",
    "report": "gridcast.api.sweeps",
    "rollback": "gridcast.api.sweeps",
    "run": "gridcast.api.running",
    "validate": "gridcast.api.sweeps",
}
"""The module of each name, see PEP 562."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'gridcast' has no attribute '{name}'")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
