"""Begin: an experiment file for a table, and the JSON schema of experiment files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gridcast.api import sweeps
from gridcast.api.choices import check_choice
from gridcast.cli.app import app, out
from gridcast.cli.printer import Printer
from gridcast.data.atomic_write import atomic_write
from gridcast.runtime.errors import ConfigError, InputError

TASKS = ("forecast", "probabilistic", "anomaly")


@app.command("new")
def new_verb(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="the table: a CSV, Excel or Parquet file, a folder, a pattern such as 'sales-*.csv', an address, or a "
            "database such as sqlite:///shop.db",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="the experiment file (default: the table's name, .yaml)"),
    ] = None,
    target: Annotated[str | None, typer.Option(metavar="COLUMN", help="the column to forecast")] = None,
    time: Annotated[str | None, typer.Option(metavar="COLUMN", help="the column of time stamps")] = None,
    series: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="a column that distinguishes series; repeatable")
    ] = None,
    task: Annotated[str | None, typer.Option(help="forecast, probabilistic or anomaly")] = None,
    name: Annotated[str | None, typer.Option(help="name of the experiment (default: that of the table)")] = None,
    query: Annotated[str | None, typer.Option(metavar="SQL", help="the rows of a database")] = None,
    start: Annotated[
        str | None, typer.Option(metavar="DATE", help="the first period, if columns such as d_1 only number them")
    ] = None,
    frequency: Annotated[
        str | None, typer.Option(help="the step, such as h, D, W or M (default: as stamps show)")
    ] = None,
    horizon: Annotated[
        int | None, typer.Option(min=1, metavar="STEPS", help="steps to forecast (default: what suits the frequency)")
    ] = None,
) -> None:
    """Look at a table and write an experiment file for it.

    Each choice is explained in a comment. The file is checked as `gridcast validate` does.
    """
    from gridcast.data.first_look.draft import draft_experiment
    from gridcast.data.first_look.experiment_text import experiment_text
    from gridcast.data.first_look.wishes import Wishes

    if task is not None:
        check_choice("--task", task, TASKS)
    if output is not None:
        _check_new(output)
    wishes = Wishes(target, time, tuple(series) if series else None, task, name, query, start, frequency, horizon)
    draft = draft_experiment(data, wishes)
    path = output or Path(f"{draft.content['name']}.yaml")
    text = experiment_text(draft.from_folder(path.parent), data)
    _check_new(path)
    _write(path, text)
    out.print(f"{path} is written.", markup=False)
    for doubt in draft.doubts:
        out.print(f"  check: {doubt}", markup=False)
    if draft.question is not None:
        lines = " or ".join(f"`{draft.question.setting}: {choice}`" for choice in draft.question.choices)
        raise ConfigError(
            f"{path}: one question is open: {draft.question.message}. Remove the # before {lines} at the end of its "
            f"section data, then `gridcast validate {path}`"
        )
    _validate(path)


def _check_new(path: Path) -> None:
    """Raise ConfigError where no new file can be written to `path`."""
    if path.exists():
        raise ConfigError(f"{path}: exists already, and is not overwritten; name another file with -o, or remove it")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{path}: its folder does not exist; make it, or name another file with -o")


def _write(path: Path, text: str) -> None:
    """Write a new file whole or not at all. Raises ConfigError where another process was faster."""
    with atomic_write(path, overwrite=False) as temporary:
        temporary.write_text(text, encoding="utf-8")
    if path.read_text(encoding="utf-8") != text:
        raise ConfigError(f"{path}: was written by another process at the same time; name another file with -o")


def _validate(path: Path) -> None:
    """Check the file with the code of `gridcast validate`, and print what comes next."""
    try:
        plan = sweeps.validate(path, progress=Printer())
    except InputError as error:
        raise ConfigError(f"{path} is written, but not valid yet: {error}") from None
    out.print(f"{path} is valid: {len(plan.runs):,} runs on {len(plan.panel.series):,} series. Next:", markup=False)
    out.print(f"  gridcast plan {path}      how long they take", markup=False)
    out.print(f"  gridcast run {path}       train, compare, report", markup=False)


@app.command("schema")
def schema_verb(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="print the table of keys for the documentation instead")
    ] = False,
) -> None:
    """Print the JSON schema of experiment files.

    It has descriptions and defaults, with which editors explain and check each key:
    gridcast schema > gridcast.schema.json
    """
    from gridcast.config.json_schema import experiment_schema
    from gridcast.config.settings_page import settings_page

    typer.echo(settings_page() if markdown else json.dumps(experiment_schema(), indent=2), nl=not markdown)
