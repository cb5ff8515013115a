"""The environment of a process that loads models: whatever a model carries runs in it, and may read it."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator, Mapping

from gridcast.serving.settings import TOKEN_VARIABLE

NEEDED = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|TZ|TMPDIR|TEMP|TMP|LANG|LC_.*|XDG_.*|LD_LIBRARY_PATH|DYLD_.*|SYSTEMROOT|APPDATA|"
    r"PYTHON.*|VIRTUAL_ENV|CONDA_.*|SSL_.*|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|(HTTPS?|NO|ALL|FTP)_PROXY|"
    r"MLFLOW_.*|GRIDCAST_.*|DATABRICKS_.*|AWS_.*|AZURE_.*|GOOGLE_.*|GCLOUD_.*|PG.*|"
    r"JAX_.*|XLA_.*|TF_.*|KERAS_.*|CUDA_.*|NVIDIA_.*|ROCM_.*|HIP_.*|.*_NUM_THREADS|MALLOC_.*",
    re.IGNORECASE,
)
"""Variables that Python, the network's backend, or the client of the tracking server or of its artifacts read."""
_lock = threading.Lock()


def loader_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an environment that loading a model needs; the admin token is none of them."""
    return {name: value for name, value in environment.items() if NEEDED.fullmatch(name) and name != TOKEN_VARIABLE}


@contextlib.contextmanager
def only_needed_variables() -> Iterator[None]:
    """Remove all other variables while a process is started: it inherits what there is then."""
    with _lock:
        needed = loader_environment(os.environ)
        others = {name: value for name, value in os.environ.items() if name not in needed}
        for name in others:
            del os.environ[name]
        try:
            yield
        finally:
            os.environ.update(others)
