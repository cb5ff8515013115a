"""The service against its own description, asked by Schemathesis with all its checks."""

import os
import re
import subprocess
import sys

import pytest

from gridcast.serving.rate_limits import RequestLimits
from small_service import POINT, QUANTILES, TOKEN, WATCHED, running

pytestmark = pytest.mark.xdist_group("serving")

HOOKS = f"""
import schemathesis

@schemathesis.hook
def map_body(context, body):
    if isinstance(body, dict) and isinstance(body.get("rows"), list):
        body["model"] = "{WATCHED}"
        times = [f"2024-01-01T00:{{minute:02}}" for minute in range(8 + len(body["rows"]) % 50)]
        body["rows"] = [{{"time": time, "flow": 20, "heat": 300}} for time in times]
    elif isinstance(body, dict) and isinstance(body.get("model"), str):
        body["model"] = "{POINT}"
        for number, series in enumerate(body.get("series", ())):
            if isinstance(series, dict):
                series["id"] = ("apple", "pear")[number % 2]
    return body

@schemathesis.hook
def map_query(context, query):
    return query | {{"model": "{QUANTILES}"}} if query and "model" in query else query
"""
SEMANTIC = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 404, 422]
"""
"""What no schema can say, such as that history ends now, makes a valid request wrong all the same."""


def run(shop, folder, *options, hooks=None, semantic=False):
    """Cases that Schemathesis made, after none of them showed a fault."""
    (folder / "schemathesis.toml").write_text(SEMANTIC if hooks or semantic else "")
    if hooks:
        (folder / "served_hooks.py").write_text(hooks)
    with running(
        shop, folder / "service", (POINT, QUANTILES, WATCHED), limits=RequestLimits(rate=0, body=200_000)
    ) as found:
        command = [
            sys.executable,
            "-m",
            "schemathesis.cli",
            "run",
            f"{found.url}/openapi.json",
            "--checks",
            "all",
            "--no-color",
            "--seed",
            "1",
            *options,
        ]
        command += ["-H", f"X-API-Key: {found.key}", "-H", f"X-Admin-Token: {TOKEN}"]
        own = os.environ | ({"SCHEMATHESIS_HOOKS": "served_hooks"} if hooks else {})
        done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, check=False)
        failed = [line for line in found.lines() if line["event"] == "failed"]
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert failed == []
    return int(re.search(r"(\d[\d,]*) generated", done.stdout)[1].replace(",", ""))


def test_nothing_is_found_in_a_short_run(shop, tmp_path):
    assert run(shop, tmp_path, "--max-examples", "8", "--phases", "examples,fuzzing") >= 50


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_found_in_a_long_run(shop, tmp_path):
    # So many cases find the names of models, and ask them what they cannot answer.
    assert run(shop, tmp_path, "--max-examples", "150", semantic=True) >= 2000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_found_beyond_the_name_of_the_model(shop, tmp_path):
    options = ("--max-examples", "300", "--phases", "fuzzing", "--include-path-regex", "predict|anomalies")
    assert run(shop, tmp_path, *options, "--mode", "positive", hooks=HOOKS) >= 500
