"""Artifact locations in an SQLite store: MLflow stores absolute paths, which break when the project is moved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from gridcast.runtime.errors import TrackingError
from gridcast.tracking import sqlite_store

ARTIFACT_FOLDER = "mlruns"
"""MLflow's default place for artifacts, in the folder where an experiment was created."""
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
"""Tables whose paths lead to existing artifacts; the other tables say where new artifacts go."""


@dataclass(frozen=True)
class ArtifactLocation:
    """One path in the database: `tail` (`mlruns/…`) in the project folder `root`, stored as `text`."""

    table: str
    column: str
    row: int
    text: str
    root: Path
    tail: Path

    @property
    def exists(self) -> bool:
        """Whether the path exists."""
        return (self.root / self.tail).exists()

    def moved_to(self, folder: Path) -> str:
        """Return the same path in the project folder `folder`, in the same notation (path or URI)."""
        path = folder / self.tail
        return path.as_uri() if self.text.startswith("file:") else str(path)


@dataclass(frozen=True)
class ProjectMove:
    """A project folder that was moved, or copied with the old one still there, and the paths to rewrite."""

    old: Path
    new: Path
    copied: bool
    locations: tuple[ArtifactLocation, ...]

    @property
    def description(self) -> str:
        """The move in one sentence."""
        verb = "copied" if self.copied else "moved"
        return f"the project was {verb} from {self.old} to {self.new}, and MLflow still looks for artifacts there"


def stale_location_message(uri: str, experiment: str | None = None) -> str | None:
    """Return an error message with its remedy if new artifacts would go to a wrong folder; None if all is well.

    `experiment` limits the check to one experiment. It reads one row per experiment, so every start can afford it.
    """
    path = sqlite_store.sqlite_path(uri)
    if path is None or not path.exists():
        return None
    condition = "" if experiment is None else "name = ?"
    locations = _locations(path, PATH_COLUMNS[0], condition, () if experiment is None else (experiment,))
    project = _project_folder(path)
    for root in dict.fromkeys(location.root for location in locations):
        is_missing = not (root / ARTIFACT_FOLDER).exists()
        if _same_folder(root, project) or not (is_missing or _is_copied(path, root, project)):
            continue
        for move in find_moves(path):
            if move.old == root:
                return f"{path}: {move.description}; run: gridcast doctor --fix"
        if is_missing:
            return f"{path}: {'; '.join(missing_folder_message(root))}"
    return None


def missing_folder_message(root: Path) -> tuple[str, str]:
    """Return the problem and the remedy for artifacts that are neither where the database says nor here."""
    return f"artifacts lie in {root / ARTIFACT_FOLDER}, which is not there", "mount it, or put it back"


def missing_folders(path: Path) -> list[Path]:
    """Return the project folders whose artifacts are neither there nor here."""
    roots = dict.fromkeys(location.root for location in _all_locations(path) if location.table in ARTIFACT_TABLES)
    moved = {move.old for move in find_moves(path)}
    return [root for root in roots if root not in moved and not (root / ARTIFACT_FOLDER).exists()]


def find_moves(path: Path) -> list[ProjectMove]:
    """Return every move of the project after which the paths in the database were not rewritten."""
    project, moves = _project_folder(path), []
    locations = _all_locations(path)
    for root in dict.fromkeys(location.root for location in locations):
        if _same_folder(root, project):
            continue
        of_root = [location for location in locations if location.root == root]
        artifacts = [location for location in of_root if location.table in ARTIFACT_TABLES]
        copied = _is_copied(path, root, project)
        # After a copy the old artifacts still exist, so those that are here too are ours; after a move, only
        # artifacts that are gone from the old folder and are here show that it was moved.
        here = [
            location for location in artifacts if (project / location.tail).exists() and (copied or not location.exists)
        ]
        if here or not (artifacts or (root / ARTIFACT_FOLDER).exists()):
            rewrite = here if copied else [location for location in artifacts if not location.exists]
            rewrite += [location for location in of_root if location.table not in ARTIFACT_TABLES]
            moves.append(ProjectMove(root, project, copied, tuple(rewrite)))
    return moves


def missing_models(path: Path) -> list[ArtifactLocation]:
    """Return the models that are recorded as complete but do not exist at their location."""
    complete = "status = 2 AND lifecycle_stage = 'active'"
    locations = _locations(path, ("logged_models", "artifact_location"), complete)
    return [location for location in locations if not location.exists]


def update_paths(path: Path, move: ProjectMove) -> str:
    """Rewrite the paths of `move`, all or none, after a backup; return what was done. Raises TrackingError."""
    backup = sqlite_store.back_up(path, "move")
    expected = {location: (move.new / location.tail).exists() for location in move.locations}
    with sqlite_store.open_connection(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for location in move.locations:
            table, column = location.table, location.column
            updated = connection.execute(
                f"UPDATE {table} SET {column} = ? WHERE rowid = ? AND {column} = ?",  # noqa: S608
                (location.moved_to(move.new), location.row, location.text),
            )
            if updated.rowcount != 1:  # closing the connection rolls back the whole transaction
                raise TrackingError(f"{path}: another process wrote in the meantime; end it and try again")
        connection.execute("COMMIT")
    rewritten = {(location.table, location.column, location.row): location for location in _all_locations(path)}
    missing = [
        location
        for location, should_exist in expected.items()
        if should_exist and not rewritten[location.table, location.column, location.row].exists
    ]
    if missing:
        raise TrackingError(f"{path}: {missing[0].tail} is not found after the move; the backup is {backup}")
    return f"{len(expected)} paths lead to {move.new} now, {sum(expected.values())} folders found; backup: {backup}"


def _all_locations(path: Path) -> list[ArtifactLocation]:
    return [location for column in PATH_COLUMNS for location in _locations(path, column)]


def _locations(
    path: Path, table_column: tuple[str, str], condition: str = "", values: tuple[str, ...] = ()
) -> Iterator[ArtifactLocation]:
    """Yield the local paths through `mlruns` in one column; URIs of servers, models and runs are left out."""
    table, column = table_column
    if table not in sqlite_store.table_names(path):
        return
    conditions = [f"{column} IS NOT NULL", condition, TRACE_CONDITION if table == "trace_tags" else ""]
    where = " AND ".join(filter(None, conditions))
    with sqlite_store.open_connection(path) as connection:
        rows = connection.execute(f"SELECT rowid, {column} FROM {table} WHERE {where}", values).fetchall()  # noqa: S608
    for row, text in rows:
        local = Path(url2pathname(urlsplit(text).path) if text.startswith("file:") else text)
        if local.is_absolute() and ARTIFACT_FOLDER in local.parts:
            # The last `mlruns` in the path: folders above the project may have that name too.
            at = len(local.parts) - 1 - local.parts[::-1].index(ARTIFACT_FOLDER)
            yield ArtifactLocation(table, column, row, text, Path(*local.parts[:at]), Path(*local.parts[at:]))


def _project_folder(path: Path) -> Path:
    """Return the present project folder: the one with `mlruns`, the working directory or that of the database."""
    here, beside = Path.cwd(), path.absolute().parent
    return beside if (beside / ARTIFACT_FOLDER).exists() and not (here / ARTIFACT_FOLDER).exists() else here


def _same_folder(first: Path, second: Path) -> bool:
    return first == second or (first.exists() and second.exists() and first.samefile(second))


def _is_copied(path: Path, root: Path, project: Path) -> bool:
    """Whether the old folder `root` still has its own database where the new one, `project`, has this one."""
    database = path.absolute()
    if _same_folder(root, project) or not database.is_relative_to(project):
        return False
    other = root / database.relative_to(project)
    return other.is_file() and not database.samefile(other)
