"""The experiment file, typed and frozen."""

from gridcast.config.configuration import AXES, BUILT_IN_LAYERS, RECURRENT_LAYERS, Configuration
from gridcast.config.experiment import Experiment
from gridcast.config.experiment_text import experiment_text
from gridcast.config.plugins import LENIENT, NO_PLUGINS, Plugin, Plugins
from gridcast.config.ranges import Range, values_of
from gridcast.config.search_settings import Budget, Confirm, Search
from gridcast.config.section import Section
from gridcast.config.sections import (
    RELEVANT,
    SENSOR_DEFAULTS,
    Anomaly,
    Data,
    Ensemble,
    Level,
    Name,
    Probabilistic,
    Select,
    Selection,
    Share,
    Split,
    Training,
    Transform,
    Window,
)
from gridcast.config.selection_metrics import Metric
from gridcast.config.table_settings import READING_KEYS, Columns, Pivot, Wide
from gridcast.config.yaml_reader import parse, read, read_text, with_source

__all__ = [
    "AXES",
    "BUILT_IN_LAYERS",
    "LENIENT",
    "NO_PLUGINS",
    "READING_KEYS",
    "RECURRENT_LAYERS",
    "RELEVANT",
    "SENSOR_DEFAULTS",
    "Anomaly",
    "Budget",
    "Columns",
    "Configuration",
    "Confirm",
    "Data",
    "Ensemble",
    "Experiment",
    "Level",
    "Metric",
    "Name",
    "Pivot",
    "Plugin",
    "Plugins",
    "Probabilistic",
    "Range",
    "Search",
    "Section",
    "Select",
    "Selection",
    "Share",
    "Split",
    "Training",
    "Transform",
    "Wide",
    "Window",
    "experiment_text",
    "parse",
    "read",
    "read_text",
    "values_of",
    "with_source",
]
