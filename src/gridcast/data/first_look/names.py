"""Words in the names of columns that suggest their meaning, in English, German, Spanish, French and Portuguese."""

from __future__ import annotations

import re
from collections.abc import Sequence

TIME = (
    *("timestamp", "datetime", "date", "time", "ds", "day", "month", "week", "year", "quarter", "period", "ts"),
    *("datum", "zeit", "zeitstempel", "tag", "monat", "woche", "jahr", "fecha", "hora", "mes", "semana", "data", "ano"),
    *("temps", "jour", "mois", "semaine", "annee", "année", "año"),
)
TARGETS = (
    *("target", "y", "sales", "units", "quantity", "qty", "demand", "rides", "load", "consumption", "close", "volume"),
    *("revenue", "turnover", "orders", "visitors", "visits", "passengers", "traffic", "production", "value", "count"),
    *("absatz", "umsatz", "menge", "verbrauch", "wert", "ventas", "cantidad", "demanda", "unidades", "valor", "vendas"),
    *("quantidade", "ventes", "quantite", "quantité", "valeur"),
)
"""The most telling first."""
SERIES = (
    *("id", "sku", "item", "product", "store", "shop", "series", "symbol", "ticker", "name", "customer", "region"),
    *("department", "dept", "brand", "retailer", "country", "city", "site", "station", "sensor", "meter", "category"),
    *("code", "family", "artikel", "produkt", "filiale", "laden", "kunde", "producto", "tienda", "produto", "loja"),
    *("model", "unique", "group", "route", "plant", "machine", "kunden", "produit", "magasin", "location", "zone"),
)
TAGS = ("tag", "tagname", "sensor", "channel", "point", "signal", "metric", "variable", "parameter", "kanal", "measure")
"""Names of a column that names the sensor of each reading."""
LABELS = (
    *("anomaly", "anomalous", "anomalies", "outlier", "fault", "faulty", "failure", "attack", "label", "abnormal"),
    *("defect", "alarm", "labels", "incident"),
)
NOT_SENSORS = ("quality", "status", "state", "code", "mode", "flag", "id", "index", "row")
"""Names of columns that hold codes."""
KNOWN_AHEAD = (
    *("holiday", "promo", "promotion", "event", "open", "weekend", "school", "display", "workingday", "working"),
    *("feiertag", "aktion", "festivo", "feriado", "campaign", "planned", "dayofweek", "weekday", "season", "sale"),
    *("bank", "closed"),
)
NOT_TARGETS = (
    *("price", "cost", "temperature", "temp", "humidity", "wind", "pressure", "weather", "index", "cpi", "rate", "id"),
    *("discount", "year", "month", "day", "week", "hour", "minute", "lat", "lon", "latitude", "longitude", "preis"),
    *("precio", "preço", "customers", "weekday", "open", "no", "number"),
)


def words(name: str) -> tuple[str, ...]:
    """Return the words of a column name in lower case: `StateHoliday` -> state, holiday."""
    parted = re.sub(r"(?<=[^\W\d_A-Z])(?=[A-Z])", " ", name)
    return tuple(word.lower() for word in re.findall(r"[^\W\d_]+", parted))


def is_about(name: str, known: Sequence[str]) -> bool:
    """Whether a word of `name` is one of the `known` ones."""
    own = words(name)
    return any(word in known for word in (*own, "".join(own)))


def rank(name: str, known: Sequence[str], *, whole: bool = False) -> int:
    """Return the position in `known` of the best word of `name`, its length without one.

    A name that is the word and nothing else comes before one that has it among others; with `whole`, only such count.
    """
    own = words(name)
    if len(own) == 1 or whole:
        joined = "".join(own)
        return known.index(joined) if joined in known else len(known)
    places = [known.index(word) for word in own if word in known]
    return min(places) if places else len(known)
