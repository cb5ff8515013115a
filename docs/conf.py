"""The documentation site: `make docs` builds it into docs/_build/html, with warnings as errors."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

from gridcast import __version__  # noqa: E402

project, author, copyright = "gridcast", "the authors of gridcast", "the authors of gridcast"  # noqa: A001
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "commands_page"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "gallery-reports/**"]
default_role = "code"
"""Docstrings have `names` in single backticks."""
autodoc_typehints = "none"
autodoc_member_order = "bysource"
suppress_warnings = ["myst.header", "misc.highlighting_failure"]

html_theme = "furo"
html_title = f"gridcast {release}"
html_extra_path = ["gallery-reports"]
html_copy_source = False
html_show_sphinx = False
html_show_search_summary = False  # it would be fetched, which pages opened as files may not do
pygments_style, pygments_dark_style = "friendly", "monokai"
