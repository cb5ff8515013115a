"""Where an SQLite store says its artifacts lie: MLflow keeps absolute paths, which a move of the project breaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from gridcast.runtime.errors import TrackingError
from gridcast.tracking import sqlite_store

ARTIFACT_FOLDER = "mlruns"
"""MLflow's default place for artifacts, in the folder where an experiment was made."""
PATH_COLUMNS = (
    ("experiments", "artifact_location"),
    ("workspaces", "default_artifact_root"),
    ("workspaces", "trace_archival_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)
"""Every column of MLflow's schema that may hold a local path to artifacts."""
TRACE_CONDITION = "key = 'mlflow.artifactLocation'"
ARTIFACT_TABLES = ("runs", "logged_models", "model_versions", "trace_tags")
"""Tables whose paths are read; those of the others are only where new ones begin."""


@dataclass(frozen=True)
class ArtifactLocation:
    """One path in the database: `tail` (`mlruns/…`) in the project folder `root`."""

    table: str
    column: str
    row: int
    text: str
    root: Path
    tail: Path

    @property
    def there(self) -> bool:
        """Whether something lies where the database says."""
        return (self.root / self.tail).exists()

    def moved(self, home: Path) -> str:
        """The same path in the project folder `home`, written as it was."""
        new = home / self.tail
        return new.as_uri() if self.text.startswith("file:") else str(new)


@dataclass(frozen=True)
class ProjectMove:
    """A project folder that was moved, or copied while the old one stays, and the paths that tell of the old one."""

    old: Path
    new: Path
    copied: bool
    places: tuple[ArtifactLocation, ...]

    @property
    def text(self) -> str:
        """In one sentence."""
        what = "copied" if self.copied else "moved"
        return f"the project was {what} from {self.old} to {self.new}, and MLflow still looks for artifacts there"


def stale_location_message(uri: str, experiment: str | None = None) -> str | None:
    """Why artifacts of `experiment` (default: of any) would go to a folder that is gone, with the remedy.

    Reads one row per experiment, so that every start can ask. None where all is well.
    """
    path = sqlite_store.sqlite_path(uri)
    if path is None or not path.exists():
        return None
    condition = "" if experiment is None else "name = ?"
    places = _locations(path, PATH_COLUMNS[0], condition, () if experiment is None else (experiment,))
    home = _project_folder(path)
    for root in dict.fromkeys(place.root for place in places):
        away = not (root / ARTIFACT_FOLDER).exists()
        if _same_folder(root, home) or not (away or _is_copied(path, root, home)):
            continue
        for move in find_moves(path):
            if move.old == root:
                return f"{path}: {move.text}; run: gridcast doctor --fix"
        if away:
            return f"{path}: {'; '.join(missing_folder_message(root))}"
    return None


def missing_folder_message(root: Path) -> tuple[str, str]:
    """What to say of artifacts whose folder is neither where the database says nor here, and the remedy."""
    return f"artifacts lie in {root / ARTIFACT_FOLDER}, which is not there", "mount it, or put it back"


def missing_folders(path: Path) -> list[Path]:
    """Project folders with artifacts that are neither there nor here."""
    places = [place for column in PATH_COLUMNS if column[0] in ARTIFACT_TABLES for place in _locations(path, column)]
    known = {move.old for move in find_moves(path)}
    return [r for r in dict.fromkeys(p.root for p in places) if r not in known and not (r / ARTIFACT_FOLDER).exists()]


def find_moves(path: Path) -> list[ProjectMove]:
    """Every move of the project that the database has not followed."""
    home, found = _project_folder(path), []
    places = [place for column in PATH_COLUMNS for place in _locations(path, column)]
    for root in dict.fromkeys(place.root for place in places):
        if _same_folder(root, home):
            continue
        own = [place for place in places if place.root == root]
        leaves = [place for place in own if place.table in ARTIFACT_TABLES]
        copied = _is_copied(path, root, home)
        here = [place for place in leaves if (home / place.tail).exists() and (copied or not place.there)]
        if here or not (leaves or (root / ARTIFACT_FOLDER).exists()):
            follow = here if copied else [place for place in leaves if not place.there]
            follow += [place for place in own if place.table not in ARTIFACT_TABLES]
            found.append(ProjectMove(root, home, copied, tuple(follow)))
    return found


def missing_models(path: Path) -> list[ArtifactLocation]:
    """Models that are recorded as complete, while nothing lies where they should be."""
    complete = "status = 2 AND lifecycle_stage = 'active'"
    return [place for place in _locations(path, ("logged_models", "artifact_location"), complete) if not place.there]


def update_paths(path: Path, move: ProjectMove) -> str:
    """Rewrite the paths of `move`, all or none, after a backup. Raises TrackingError."""
    kept = sqlite_store.back_up(path, "move")
    expected = {place: (move.new / place.tail).exists() for place in move.places}
    with sqlite_store.open_connection(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for place in move.places:
            changed = connection.execute(
                f"UPDATE {place.table} SET {place.column} = ? WHERE rowid = ? AND {place.column} = ?",  # noqa: S608
                (place.moved(move.new), place.row, place.text),
            )
            if changed.rowcount != 1:  # closing takes all of it back
                raise TrackingError(f"{path}: another process wrote meanwhile; end it and try again")
        connection.execute("COMMIT")
    now = {(p.table, p.column, p.row): p for column in PATH_COLUMNS for p in _locations(path, column)}
    missing = [p for p, was in expected.items() if was and not now[p.table, p.column, p.row].there]
    if missing:
        raise TrackingError(f"{path}: {missing[0].tail} is not found after the move; the backup is {kept}")
    return f"{len(expected)} paths lead to {move.new} now, {sum(expected.values())} folders found; backup: {kept}"


def _locations(
    path: Path, place: tuple[str, str], condition: str = "", values: tuple[str, ...] = ()
) -> Iterator[ArtifactLocation]:
    """Local paths through `mlruns` in one column; URIs of servers, models and runs are left out."""
    table, column = place
    if table not in sqlite_store.table_names(path):
        return
    where = " AND ".join(
        filter(None, [f"{column} IS NOT NULL", condition, TRACE_CONDITION if table == "trace_tags" else ""])
    )
    with sqlite_store.open_connection(path) as connection:
        rows = connection.execute(f"SELECT rowid, {column} FROM {table} WHERE {where}", values).fetchall()  # noqa: S608
    for row, text in rows:
        local = Path(url2pathname(urlsplit(text).path) if text.startswith("file:") else text)
        if local.is_absolute() and ARTIFACT_FOLDER in local.parts:
            at = len(local.parts) - 1 - local.parts[::-1].index(ARTIFACT_FOLDER)
            yield ArtifactLocation(table, column, row, text, Path(*local.parts[:at]), Path(*local.parts[at:]))


def _project_folder(path: Path) -> Path:
    """The project folder as it is now: where `mlruns` lies, here or beside the database."""
    here, beside = Path.cwd(), path.absolute().parent
    return beside if (beside / ARTIFACT_FOLDER).exists() and not (here / ARTIFACT_FOLDER).exists() else here


def _same_folder(one: Path, other: Path) -> bool:
    return one == other or (one.exists() and other.exists() and one.samefile(other))


def _is_copied(path: Path, root: Path, home: Path) -> bool:
    """Whether the old folder still has a database of its own where the new one has this."""
    own = path.absolute()
    if _same_folder(root, home) or not own.is_relative_to(home):
        return False
    other = root / own.relative_to(home)
    return other.is_file() and not own.samefile(other)
