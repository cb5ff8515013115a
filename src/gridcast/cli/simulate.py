"""Made-up data to try gridcast on: simulate sensors, simulate plant."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from gridcast.cli.app import app, out
from gridcast.cli.options import check_choice, write_table
from gridcast.runtime.errors import ConfigError

simulate = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make up data to try gridcast on.")
app.add_typer(simulate, name="simulate")


@simulate.command("sensors")
def simulate_sensors(
    kind: Annotated[str, typer.Option(help="univariate or multivariate")] = "multivariate",
    days: Annotated[
        int, typer.Option(min=2, max=366, help="a reading each minute, anomalies in the last quarter")
    ] = 14,
    seed: Annotated[int, typer.Option(min=0, help="the same seed gives the same data")] = 0,
    folder: Annotated[Path, typer.Option(help="where the files go, in place of those of an earlier call")] = Path(
        "data/sensors"
    ),
) -> None:
    """Write readings of a made-up plant, sensors.csv with a column `anomaly`, and what is wrong where, labels.csv."""
    from gridcast.data import simulation

    check_choice("--kind", kind, simulation.KINDS)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ConfigError(f"--folder: '{folder}' is a file, or lies below one; name a folder") from None
    readings, labels = simulation.simulate(kind, days * simulation.DAY, seed)
    readings["anomaly"] = simulation.flags(readings, labels).astype(int)
    write_table(labels, folder / "labels.csv")
    write_table(readings, folder / "sensors.csv")
    clean = int(readings["anomaly"].argmax())
    out.print(
        f"{folder / 'sensors.csv'}: {len(readings):,} readings, {len(labels)} anomalies from "
        f"{readings['time'][clean]} on ({folder / 'labels.csv'})",
        markup=False,
    )


@simulate.command("plant")
def simulate_plant(
    kind: Annotated[str, typer.Option(help="univariate or multivariate")] = "multivariate",
    days: Annotated[int, typer.Option(min=2, max=366, help="how many days it has, anomalies in the last quarter")] = 14,
    seed: Annotated[int, typer.Option(min=0, help="the same seed gives the same data")] = 0,
    speed: Annotated[float, typer.Option(min=0, help="how many times as fast as the clock the minutes come")] = 60.0,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8010,
) -> None:
    """Deliver a made-up plant over HTTP: the clean three quarters at once, then the rest minute by minute."""
    from gridcast.cli import simulated_plant
    from gridcast.data import simulation

    check_choice("--kind", kind, simulation.KINDS)
    readings, labels = simulation.simulate(kind, days * simulation.DAY, seed)
    clean = int(simulation.CLEAN * len(readings))
    server = simulated_plant.make_server(readings, labels, host, port, speed, clean)
    out.print(
        f"http://{host}:{port}/readings: {clean:,} minutes are there, then one every {60 / speed:.3g} s until "
        f"{readings['time'].iloc[-1]}; /labels tells of the {len(labels)} anomalies"
        if speed
        else f"http://{host}:{port}/readings: {clean:,} minutes, and no more",
        markup=False,
    )
    with contextlib.suppress(KeyboardInterrupt), server:
        server.serve_forever()
