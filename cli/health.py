"""The health check of containers, `python -m torchserve.cli.health`: asks the running server for /ping, wherever it
listens, and ends with 0 if it is healthy.
"""

from __future__ import annotations

import http.client
import sys

from .connection import connection_to
from .runtime_file import find_running_server


def healthy() -> bool:
    """Return whether a server runs and says that it is healthy."""
    server = find_running_server()
    if server is None or "inference" not in server.addresses:
        return False
    connection = connection_to(server.addresses["inference"])
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if healthy() else 1)
