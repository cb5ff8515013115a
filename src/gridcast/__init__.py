"""One YAML grid and a table of time series become tracked, compared and served recurrent networks."""

__version__ = "0.2.0"
