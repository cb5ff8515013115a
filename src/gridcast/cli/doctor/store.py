"""Checks of the MLflow store: its file or server, where its artifacts are, and runs without a process."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gridcast.cli.doctor.finding import Finding, Project, good, problem
from gridcast.cli.doctor.repair import rebuild
from gridcast.runtime.errors import GridcastError, TrackingError
from gridcast.sweep import lease
from gridcast.tracking import artifact_paths, mlflow_runs, sqlite_store
from gridcast.tracking.addresses import readable_address, split_credentials, without_credentials
from gridcast.tracking.store import DEFAULT_URI, Store, connect, first_line

UNSET_REMEDY = f"unset MLFLOW_TRACKING_URI, or set it to {DEFAULT_URI} or the address of a server"
FIX_COMMAND = "`gridcast doctor --fix`"
MAX_NAMES_SHOWN = 3


def is_swept(store: Store) -> bool:
    """Whether some process sweeps the experiment."""
    watch = lease.ClaimWatch()
    return any(watch.is_alive(claim) for claim in lease.read_claims(store))


def check_store(project: Project) -> Iterator[Finding]:
    """Check that MLflow can read the store and write to it."""
    path = sqlite_store.sqlite_path(project.uri)
    if path is not None:
        yield from _check_file(path)
    elif re.match("https?:", project.uri):
        yield _check_server(project.uri)
    elif project.uri.startswith("file:") or ":" not in project.uri:
        text = f"{without_credentials(project.uri)}: a folder, where MLflow keeps no runs any more"
        yield problem("store", text, remedy=UNSET_REMEDY)


def _check_file(path: Path) -> Iterator[Finding]:
    """Check an SQLite file; after a problem that was not fixed, later checks have nothing to look at."""
    if not path.exists():
        count = sum(1 for _ in sqlite_store.run_folders(path.absolute().parent))
        remark = f", though mlruns has artifacts of {count} runs; put it back if it was moved" if count else ""
        yield good("store", f"{path}: not there yet, the first run makes it{remark}")
        return
    if damage := sqlite_store.find_damage(path, thorough=True):
        remedy = sqlite_store.damage_remedy(path)
        yield problem("store", f"{path}: {damage}", remedy=remedy, fix=partial(rebuild, path))
        if sqlite_store.find_damage(path):
            return
    if schema_problem := sqlite_store.schema_problem(path):
        text, remedy = schema_problem
        yield problem("store", f"{path}: {text}", remedy=remedy, fix=_schema_fix(path))
        if not path.exists() or sqlite_store.schema_problem(path):
            return
    text = f"{path}: whole, {sqlite_store.row_count(path, 'runs'):,} runs"
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        text += f"; its last writes are in {log.name}: never copy or move one without the other"
    yield good("store", text)


def _schema_fix(path: Path) -> Callable[[], str] | None:
    """Return what upgrades a schema older than that of the installed MLflow; None for any other problem with it."""
    revision, (revisions, _) = sqlite_store.schema_revision(path), sqlite_store.known_revisions()
    if "experiments" not in sqlite_store.table_names(path) or (revision and revision not in revisions):
        return None
    if sqlite_store.is_unused(path):
        return lambda: f"renamed to {sqlite_store.retire_database(path, 'unfinished')}; the next run makes a new one"
    return partial(_upgrade, path)


def _upgrade(path: Path) -> str:
    backup = sqlite_store.back_up(path, "upgrade")
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{path.absolute()}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or sqlite_store.schema_problem(path):
        shutil.copyfile(backup, path)
        errors = re.findall(r"^\S*(?:Error|Exception)\b.*", done.stderr, re.MULTILINE) or ["no message"]
        raise TrackingError(f"{path}: `mlflow db upgrade` failed, the file is as it was: {errors[-1]}")
    return f"upgraded to schema {sqlite_store.schema_revision(path)}; backup: {backup}"


def _check_server(uri: str) -> Finding:
    """Check that a tracking server answers, and report its version of MLflow if it has an answer to that."""
    uri, shown = readable_address(uri).rstrip("/"), without_credentials(uri)
    try:
        _get(f"{uri}/health")
    except (OSError, ValueError, HTTPException) as error:
        text = f"{shown}: no tracking server answers: {first_line(error)}"
        return problem("store", text, remedy=f"start it, or {UNSET_REMEDY}")
    try:
        server_version = _get(f"{uri}/version")
    except (OSError, ValueError, HTTPException):
        server_version = "of unknown version"
    return good("store", f"{shown}: answers; MLflow {server_version} there, {version('mlflow')} here")


def _get(url: str) -> str:
    address, user = split_credentials(url)
    headers = {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"} if user else {}
    request = urllib.request.Request(address, headers=headers)  # noqa: S310 - the scheme was checked
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
        return str(answer.read(100), "utf-8", "replace").strip()


def check_legacy_files(_: Project) -> Iterator[Finding]:
    """Report runs that an MLflow before 3.13 stored as files in `mlruns`; plain `mlflow ui` would fail on them."""
    experiments = sorted(Path().glob("mlruns/[0-9]*/meta.yaml"))
    if not experiments:
        return
    target = DEFAULT_URI if not Path("mlflow.db").exists() else "sqlite:///mlflow-legacy.db"
    remedy = (
        f"migrate them: `mlflow migrate-filestore --source . --target {target}`; then make plain `mlflow ui` "
        "ignore the files: `for f in mlruns/[0-9]*/meta.yaml; do mv $f $f.migrated; done`"
    )
    if target != DEFAULT_URI:
        remedy += f"; to see them: `mlflow ui --backend-store-uri {target}`"
    text = (
        f"mlruns keeps {len(experiments)} experiments of an MLflow before 3.13 in files, which MLflow refuses to read"
    )
    yield problem("legacy store", text, remedy=remedy)


def check_artifacts(project: Project) -> Iterator[Finding]:
    """Check that the artifacts are where the store says."""
    path = sqlite_store.sqlite_path(project.uri)
    if path is None or not _can_open(project.uri):
        return
    for move in artifact_paths.find_moves(path):
        remedy = f"{FIX_COMMAND} updates the paths in the database, after a backup"
        fix = partial(artifact_paths.update_paths, path, move)
        yield problem("artifacts", move.description, remedy=remedy, fix=fix)
    unfixed, missing_folders = artifact_paths.find_moves(path), artifact_paths.missing_folders(path)
    for folder in missing_folders:
        text, remedy = artifact_paths.missing_folder_message(folder)
        yield problem("artifacts", text, remedy=remedy)
    if unfixed or missing_folders:
        return
    if missing := artifact_paths.missing_models(path):
        text = f"{len(missing)} recorded models are missing, the first in {missing[0].root / missing[0].tail}"
        yield problem("artifacts", text, remedy="put mlruns back, or delete their runs in MLflow to train them again")
    else:
        yield good("artifacts", "every recorded model is where MLflow looks for it")


def check_runs(project: Project) -> Iterator[Finding]:
    """Report runs that are marked RUNNING though no process works on them."""
    if not _can_open(project.uri):
        return
    try:
        stale = _stale_runs(project)
    except GridcastError as error:
        yield problem("runs", str(error), remedy=UNSET_REMEDY)
        return
    if not stale:
        yield good("runs", "none is marked RUNNING without a process that works on it")
        return

    def close() -> str:
        for store, run in stale:
            mlflow_runs.set_run_status(store, run.info.run_id, "KILLED")
        return f"{len(stale)} runs are marked KILLED"

    names = ", ".join(mlflow_runs.run_name(run) for _, run in stale[:MAX_NAMES_SHOWN])
    names += ", …" if len(stale) > MAX_NAMES_SHOWN else ""
    yield problem(
        "runs",
        f"{len(stale)} are marked RUNNING though no process works on them: {names}",
        remedy=f"{FIX_COMMAND}, or the next gridcast run of the experiment, marks them KILLED",
        fix=close,
    )


def _stale_runs(project: Project) -> list[tuple[Store, Any]]:
    client, uri = connect(project.uri)
    stale: list[tuple[Store, Any]] = []
    for experiment in client.search_experiments():
        store = Store(client, uri, experiment.experiment_id)
        condition = f"tags.`{mlflow_runs.KIND_TAG}` like '%' and attributes.status = 'RUNNING'"
        running = mlflow_runs.search_runs(store, condition)
        if running and not project.is_swept(store):
            stale += [(store, run) for run in running]
    return stale


def _can_open(uri: str) -> bool:
    """Whether MLflow can open the store without creating it; if not, `check_store` has reported why."""
    path = sqlite_store.sqlite_path(uri)
    if path is None:
        return _check_server(uri).ok if re.match("https?:", uri) else "://" in uri and not uri.startswith("file:")
    try:
        sqlite_store.check_file(uri)
    except TrackingError:
        return False
    return path.exists()
