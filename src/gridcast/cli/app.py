"""The `gridcast` command, its consoles, and the arguments and options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from gridcast import __version__
from gridcast.tracking.addresses import without_credentials


class MaskingConsole(Console):
    """A console that prints addresses of stores and servers without user and password."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does."""
        super().print(*[without_credentials(part) if isinstance(part, str) else part for part in objects], **options)


app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = MaskingConsole(highlight=False, soft_wrap=True)
err = MaskingConsole(stderr=True, highlight=False, soft_wrap=True)

ExperimentFile = Annotated[Path, typer.Argument(help="the experiment, a YAML file")]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="a registered model (its champion), a models:/ or runs:/ URI, or an experiment file (its champion)",
    ),
]
RegisteredModel = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="a registered model, a models:/ URI of its champion, or an experiment file (its champion)"
    ),
]
Backend = Annotated[str, typer.Option(help="Keras backend: jax or tensorflow")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, help="number of worker processes (default: one per GPU, else one per core; 1: no other process)"
    ),
]
DataDescription = Annotated[
    Path | None,
    typer.Option(help="experiment file that describes how to read the data (default: that of the model's sweep)"),
]

PluginFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin", metavar="FILE", help="Python file with networks, baselines and more of your own; repeatable"
    ),
]

TableSource = Annotated[
    str,
    typer.Argument(
        help="table with the columns of the experiment: a file, a pattern such as 'sales-*.csv', an address such as "
        "https://... or s3://..., or a database, which is asked the experiment's data.query"
    ),
]
ForceReason = Annotated[
    str | None,
    typer.Option(metavar="REASON", help="promote even if a gate refuses; the reason is stored with the version"),
]
AlertAddresses = Annotated[
    list[str] | None, typer.Option(metavar="URL", help="apprise address that is sent each alert; repeatable")
]


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"gridcast {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None:
    """Train, compare and serve recurrent networks for time series."""
    print_help_without_verb(context)


def print_help_without_verb(context: typer.Context) -> None:
    """Print the help and exit with 0 if the command was called without a verb."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit
