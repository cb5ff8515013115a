"""Make the reports of the gallery again: four small sweeps on made-up tables, in a temporary folder.

python docs/make_gallery.py
"""

import contextlib
import re
import shutil
import tempfile
from pathlib import Path

import gridcast

DOCS = Path(__file__).parent
EXPERIMENTS = DOCS.parent / "experiments"
STORIES = {
    "closes-daily": ("student", "closes_daily.yaml"),
    "load-hourly": ("ml-engineer", "load_hourly.yaml"),
    "pump-folder": ("plant-engineer", "pump_folder.yaml"),
    "sales-excel": ("retail-analyst", "sales_excel.yaml"),
}
"""By name of the report: the tutorial whose first snippet makes the table, and the experiment file."""


def main() -> None:
    """Write docs/gallery-reports/NAME.html for each story."""
    target = DOCS / "gallery-reports"
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name, (tutorial, experiment) in STORIES.items():
            page = (DOCS / "tutorials" / f"{tutorial}.md").read_text(encoding="utf-8")
            exec(re.search(r"```python\n(.*?)```", page, re.S)[1], {})  # noqa: S102 - the snippet of our own page
            shutil.copy(EXPERIMENTS / experiment, experiment)
            sweep = gridcast.run(experiment)
            shutil.copy(sweep.report, target / f"{name}.html")


if __name__ == "__main__":
    main()
