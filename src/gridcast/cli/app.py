"""What all verbs share: the command they belong to, where they write, and options that several have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gridcast import __version__

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
CACHE, REPORTS = Path(".gridcast"), Path("reports")
ExperimentFile = Annotated[Path, typer.Argument(help="the experiment, a YAML file")]
Backend = Annotated[str, typer.Option(help="Keras backend: jax or tensorflow")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="worker processes (default: one per GPU, else per core; 1: in this process)")
]


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"gridcast {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="show the version")
    ] = False,
) -> None:
    """From one YAML grid and a table of time series to tracked, compared recurrent networks."""
