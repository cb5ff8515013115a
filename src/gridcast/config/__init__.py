"""The experiment file, typed and frozen."""

from gridcast.config.experiment import Experiment
from gridcast.config.experiment_text import experiment_text
from gridcast.config.search_settings import Budget, Confirm, Search
from gridcast.config.section import Section
from gridcast.config.sections import (
    AXES,
    RELEVANT,
    SENSOR_DEFAULTS,
    Anomaly,
    Configuration,
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
from gridcast.config.table_settings import READING_KEYS, Columns, Pivot, Wide
from gridcast.config.yaml_reader import parse, read, read_text, with_source

__all__ = [
    "AXES",
    "READING_KEYS",
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
    "Name",
    "Pivot",
    "Probabilistic",
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
    "with_source",
]
