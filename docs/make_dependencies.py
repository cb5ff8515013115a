"""Write docs/project/dependencies.md: each required package with its purpose, its licence and its size on disk.

python docs/make_dependencies.py
"""

import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PURPOSES = {
    "anyio": "threads and cancellation in the service",
    "apprise": "alerts by mail and chat",
    "cloudpickle": "plug-in functions of a notebook, sent to workers",
    "dask": "workers of a cluster",
    "distributed": "workers of a cluster",
    "fastapi": "the HTTP service",
    "fsspec": "tables at addresses such as s3:// and https://",
    "holidays": "public holidays as covariates",
    "httptools": "HTTP parser of the service",
    "jax": "training and inference",
    "jinja2": "templates of reports",
    "keras": "networks, optimizers, losses",
    "markupsafe": "safe HTML in reports",
    "matplotlib": "figures",
    "mlflow": "runs, models, registry",
    "numpy": "arrays",
    "openpyxl": "Excel files",
    "optuna": "TPE search; studies for its dashboard",
    "packaging": "versions of packages",
    "pandas": "tables",
    "prometheus-client": "metrics of the service",
    "prophet": "the baseline Prophet",
    "psutil": "memory and processes",
    "psycopg": "PostgreSQL",
    "pyarrow": "Parquet files",
    "pydantic": "the sections of the experiment file",
    "pydantic-core": "error messages of the experiment file",
    "python-multipart": "uploaded files",
    "pyyaml": "YAML",
    "requests": "feeds and webhooks",
    "rich": "terminal output",
    "scikit-learn": "ridge, trees, PCA, isolation forest",
    "scipy": "statistics",
    "seaborn": "figures",
    "sqlalchemy": "databases",
    "starlette": "the HTTP service",
    "statsmodels": "the baseline AutoARIMA",
    "tensorflow": "training with --backend tensorflow",
    "typer": "the command line",
    "uvicorn": "the server of the service",
    "uvloop": "its event loop",
}
INTRODUCTION = """# Dependencies

What `pip install gridcast` installs directly, and the extras; other packages come with these. Sizes are those on disk
of the package itself. `make dependencies` writes this page from the installed packages.

| package | for | licence | MB |
| --- | --- | --- | --- |
"""


def main() -> None:
    """Write the page."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [_line(text, "") for text in project["dependencies"]]
    for extra, texts in project["optional-dependencies"].items():
        lines += [_line(text, f" (extra `{extra}`)") for text in texts]
    path = ROOT / "docs" / "project" / "dependencies.md"
    path.write_text(INTRODUCTION + "\n".join(lines) + "\n", encoding="utf-8")


def _line(text: str, remark: str) -> str:
    name = Requirement(text).name
    package = metadata.distribution(name)
    size = sum(Path(str(file.locate())).stat().st_size for file in package.files or () if file.locate().is_file())
    return f"| {name}{remark} | {PURPOSES[name]} | {_licence(package.metadata)} | {size / 1e6:,.1f} |"


def _licence(about: metadata.PackageMetadata) -> str:
    """Return the licence as the package states it: an expression, a classifier, or the first line of a text."""
    classifiers = [text.rpartition(" :: ")[2] for text in about.get_all("Classifier") or () if "License ::" in text]
    stated = about.get("License-Expression") or ", ".join(classifiers) or (about.get("License") or "not stated")
    return stated.splitlines()[0].replace(" License", "").replace("|", "or")


if __name__ == "__main__":
    main()
