"""Checks of the MLflow store: its file or server, where its artifacts lie, and runs that nobody works at."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gridcast.cli.doctor.finding import Finding, Project
from gridcast.cli.doctor.repair import rebuild
from gridcast.runtime.errors import GridcastError, TrackingError
from gridcast.sweep import lease
from gridcast.tracking import artifact_paths, mlflow_runs, sqlite_store
from gridcast.tracking.store import DEFAULT_URI, Store, connect

UNSET_REMEDY = f"unset MLFLOW_TRACKING_URI, or set it to {DEFAULT_URI} or the address of a server"
FIX_COMMAND = "`gridcast doctor --fix`"


def is_swept(store: Store) -> bool:
    """Whether some process sweeps the experiment."""
    watch = lease.ClaimWatch()
    return any(watch.lives(claim) for claim in lease.read_claims(store))


def check_store(project: Project) -> Iterator[Finding]:
    """Whether MLflow can read the store and write to it."""
    path = sqlite_store.sqlite_path(project.uri)
    if path is not None:
        yield from _file(path)
    elif re.match("https?:", project.uri):
        yield _server(project.uri)
    elif project.uri.startswith("file:") or ":" not in project.uri:
        yield Finding("store", False, f"{project.uri}: a folder, where MLflow keeps no runs any more", UNSET_REMEDY)


def _file(path: Path) -> Iterator[Finding]:
    """Checks of an SQLite file; what is wrong and not mended leaves the later ones nothing to look at."""
    if not path.exists():
        kept = sum(1 for _ in sqlite_store.run_folders(path.absolute().parent))
        told = f", though mlruns has artifacts of {kept} runs; put it back if it was moved" if kept else ""
        yield Finding("store", True, f"{path}: not there yet, the first run makes it{told}")
        return
    if wrong := sqlite_store.find_damage(path, thorough=True):
        yield Finding("store", False, f"{path}: {wrong}", sqlite_store.damage_remedy(path), partial(rebuild, path))
        if sqlite_store.find_damage(path):
            return
    if misfit := sqlite_store.schema_problem(path):
        yield Finding("store", False, f"{path}: {misfit[0]}", misfit[1], _upgrade(path))
        if not path.exists() or sqlite_store.schema_problem(path):
            return
    told = f"{path}: whole, {sqlite_store.row_count(path, 'runs'):,} runs"
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        told += f"; its last writes stand in {log.name}: never copy or move the one without the other"
    yield Finding("store", True, told)


def _upgrade(path: Path) -> Callable[[], str] | None:
    """What mends a schema older than that of the installed MLflow; None for any other that does not fit."""
    found, (known, _) = sqlite_store.schema_revision(path), sqlite_store.known_revisions()
    if "experiments" not in sqlite_store.table_names(path) or (found and found not in known):
        return None
    if sqlite_store.is_unused(path):
        return lambda: f"set aside as {sqlite_store.retire_database(path, 'unfinished')}; the next run makes a new one"

    def upgrade() -> str:
        kept = sqlite_store.back_up(path, "upgrade")
        command = [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{path.absolute()}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or sqlite_store.schema_problem(path):
            shutil.copyfile(kept, path)
            said = re.findall(r"^\S*(?:Error|Exception)\b.*", done.stderr, re.MULTILINE) or ["it said nothing"]
            raise TrackingError(f"{path}: `mlflow db upgrade` failed, the file is as it was: {said[-1]}")
        return f"upgraded to schema {sqlite_store.schema_revision(path)}; backup: {kept}"

    return upgrade


def _server(uri: str) -> Finding:
    """Whether a tracking server answers, and which MLflow it is where it tells."""
    try:
        _get(f"{uri.rstrip('/')}/health")
    except (OSError, ValueError) as error:
        return Finding("store", False, f"{uri}: no tracking server answers: {error}", f"start it, or {UNSET_REMEDY}")
    try:
        theirs = _get(f"{uri.rstrip('/')}/version")
    except (OSError, ValueError):
        theirs = "of unknown version"
    return Finding("store", True, f"{uri}: answers; MLflow {theirs} there, {version('mlflow')} here")


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - its scheme was looked at
        return str(answer.read(100), "utf-8", "replace").strip()


def check_legacy_files(_: Project) -> Iterator[Finding]:
    """Runs that an MLflow before 3.13 kept in the files of `mlruns`; plain `mlflow ui` would open those and fail."""
    found = sorted(Path().glob("mlruns/[0-9]*/meta.yaml"))
    if not found:
        return
    target = DEFAULT_URI if not Path("mlflow.db").exists() else "sqlite:///mlflow-legacy.db"
    remedy = (
        f"bring them over: `mlflow migrate-filestore --source . --target {target}`; then let plain `mlflow ui` "
        "forget the files: `for f in mlruns/[0-9]*/meta.yaml; do mv $f $f.migrated; done`"
    )
    if target != DEFAULT_URI:
        remedy += f"; to see them: `mlflow ui --backend-store-uri {target}`"
    text = f"mlruns keeps {len(found)} experiments of an MLflow before 3.13 in files, which MLflow refuses to read"
    yield Finding("legacy store", False, text, remedy)


def check_artifacts(project: Project) -> Iterator[Finding]:
    """Whether the artifacts lie where the store says."""
    path = sqlite_store.sqlite_path(project.uri)
    if path is None or not _usable(project.uri):
        return
    for move in artifact_paths.find_moves(path):
        remedy = f"{FIX_COMMAND} lets the database look here, after a backup"
        yield Finding("artifacts", False, move.text, remedy, partial(artifact_paths.update_paths, path, move))
    away, unmoved = artifact_paths.missing_folders(path), not artifact_paths.find_moves(path)
    for root in away:
        yield Finding("artifacts", False, *artifact_paths.missing_folder_message(root))
    lost = artifact_paths.missing_models(path) if unmoved and not away else []
    if lost:
        text = f"{len(lost)} recorded models are not there, the first in {lost[0].root / lost[0].tail}"
        yield Finding("artifacts", False, text, "put mlruns back; runs that are deleted in MLflow are trained anew")
    elif unmoved and not away:
        yield Finding("artifacts", True, "every recorded model lies where MLflow looks for it")


def check_runs(project: Project) -> Iterator[Finding]:
    """Runs that are marked RUNNING though nobody works at them."""
    if not _usable(project.uri):
        return
    try:
        stale = _stale(project)
    except GridcastError as error:
        yield Finding("runs", False, str(error), UNSET_REMEDY)
        return
    if not stale:
        yield Finding("runs", True, "none is marked RUNNING without a process that works at it")
        return

    def close() -> str:
        for store, run in stale:
            mlflow_runs.set_run_status(store, run.info.run_id, "KILLED")
        return f"{len(stale)} runs are marked KILLED"

    names = ", ".join(mlflow_runs.run_name(run) for _, run in stale[:3]) + (", …" if len(stale) > 3 else "")
    text = f"{len(stale)} are marked RUNNING though no process works at them: {names}"
    yield Finding(
        "runs", False, text, f"{FIX_COMMAND}, or the next gridcast run of the experiment, marks them KILLED", close
    )


def _stale(project: Project) -> list[tuple[Store, Any]]:
    client, uri = connect(project.uri)
    found: list[tuple[Store, Any]] = []
    for experiment in client.search_experiments():
        store = Store(client, uri, experiment.experiment_id)
        running = mlflow_runs.search_runs(
            store, f"tags.`{mlflow_runs.KIND_TAG}` like '%' and attributes.status = 'RUNNING'"
        )
        if running and not project.held(store):
            found += [(store, run) for run in running]
    return found


def _usable(uri: str) -> bool:
    """Whether MLflow may open the store without making one; `state` has told what is wrong otherwise."""
    path = sqlite_store.sqlite_path(uri)
    if path is None:
        return _server(uri).ok if re.match("https?:", uri) else "://" in uri and not uri.startswith("file:")
    try:
        sqlite_store.check_file(uri)
    except TrackingError:
        return False
    return path.exists()
