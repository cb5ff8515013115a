"""A service to be killed: `service_process.py STORE MODEL FOLDER PORT`; it looks for new champions all the time."""

from __future__ import annotations

import sys
from pathlib import Path

from gridcast.serving import server
from gridcast.serving.settings import Settings

TOKEN = "a-token-of-the-admin-0123456789"


def main() -> None:
    """Serve until killed."""
    uri, name, folder, port = sys.argv[1:]
    settings = Settings((name,), folder=Path(folder), token=TOKEN, uri=uri, log_predictions=True, poll_seconds=0.2)
    server.serve(settings, "127.0.0.1", int(port), cache=Path(folder) / "cache")


if __name__ == "__main__":
    main()
