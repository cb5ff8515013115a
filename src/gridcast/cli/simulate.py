"""Things to try gridcast on: examples, simulate sensors."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gridcast.api.choices import check_choice
from gridcast.cli.app import app, out, print_help_without_verb
from gridcast.cli.options import write_table
from gridcast.runtime.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

simulate = typer.Typer(rich_markup_mode=None)
app.add_typer(simulate, name="simulate")

Kind = Annotated[str, typer.Option(help="univariate or multivariate")]
Days = Annotated[
    int, typer.Option(min=2, max=366, help="days of data, one reading per minute; anomalies in the last quarter")
]
Speed = Annotated[float, typer.Option(min=0, help="how many times faster than real time the minutes pass")]
Host = Annotated[str, typer.Option(help="address to listen on")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="port to listen on")]
Seed = Annotated[int, typer.Option(min=0, help="the same seed gives the same data")]


@app.command("examples")
def examples_verb() -> None:
    """Write annotated example experiments to experiments/.

    Files that are there already stay as they are.
    """
    from gridcast.config.example_files import FOLDER, example_files
    from gridcast.data.atomic_write import atomic_write

    written = 0
    for path, content in example_files().items():
        if path.exists():
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise ConfigError(f"{path.parent}: is a file, or below one; run this in another folder") from None
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
        written += 1
    kept = len(example_files()) - written
    out.print(f"{FOLDER}/: {written} files written" + (f", {kept} were there already" if kept else ""), markup=False)


@simulate.callback(invoke_without_command=True)
def simulate_root(context: typer.Context) -> None:
    """Simulate sensor data to try gridcast on."""
    print_help_without_verb(context)


@simulate.command("sensors")
def simulate_sensors(
    kind: Kind = "multivariate",
    days: Days = 14,
    seed: Seed = 0,
    folder: Annotated[
        Path | None, typer.Option(help="folder of the files; existing ones are replaced (default: data/sensors)")
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="serve the readings over HTTP in place of files")] = False,
    speed: Speed = 60.0,
    host: Host = "127.0.0.1",
    port: Port = 8010,
) -> None:
    """Write simulated sensor readings to files, or serve them.

    sensors.csv has the readings and a column `anomaly`; labels.csv lists the anomalies. With --serve, the first three
    quarters, without anomalies, are there at once; the rest follows minute by minute.
    """
    from gridcast.data import simulation

    check_choice("--kind", kind, simulation.PLANT_KINDS)
    if serve and folder is not None:
        raise ConfigError("--folder: is for files, which --serve does not write; leave one of the two out")
    readings, labels = simulation.simulate_plant(kind, days * simulation.STEPS_PER_DAY, seed)
    if serve:
        _serve(readings, labels, speed, host, port)
    else:
        _write(readings, labels, folder or Path("data/sensors"))


@simulate.command("plant", hidden=True)
def simulate_plant(
    kind: Kind = "multivariate",
    days: Days = 14,
    seed: Seed = 0,
    speed: Speed = 60.0,
    host: Host = "127.0.0.1",
    port: Port = 8010,
) -> None:
    """Serve simulated sensor readings over HTTP."""
    simulate_sensors(kind=kind, days=days, seed=seed, serve=True, speed=speed, host=host, port=port)


def _write(readings: pd.DataFrame, labels: pd.DataFrame, folder: Path) -> None:
    from gridcast.data import simulation

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ConfigError(f"--folder: '{folder}' is a file, or below one; name a folder") from None
    readings["anomaly"] = simulation.labelled_steps(readings, labels).astype(int)
    write_table(labels, folder / "labels.csv")
    write_table(readings, folder / "sensors.csv")
    first_anomaly = int(readings["anomaly"].argmax())
    out.print(
        f"{folder / 'sensors.csv'}: {len(readings):,} readings, {len(labels)} anomalies from "
        f"{readings['time'][first_anomaly]} on ({folder / 'labels.csv'})",
        markup=False,
    )


def _serve(readings: pd.DataFrame, labels: pd.DataFrame, speed: float, host: str, port: int) -> None:
    from gridcast.cli import simulated_plant
    from gridcast.data import simulation

    ready = int(simulation.NORMAL_SHARE * len(readings))
    server = simulated_plant.make_server(readings, labels, host, port, speed=speed, ready=ready)
    address = f"http://{host}:{port}/readings"
    if speed:
        out.print(
            f"{address}: {ready:,} minutes are there, then one every {60 / speed:.3g} s until "
            f"{readings['time'].iloc[-1]}; /labels lists the {len(labels)} anomalies",
            markup=False,
        )
    else:
        out.print(f"{address}: {ready:,} minutes, and no more", markup=False)
    with contextlib.suppress(KeyboardInterrupt), server:
        server.serve_forever()
