"""Re-exports the names that scripts import from ts.model_server."""

from torchserve.cli.launcher import load_properties
from torchserve.cli.process_name import TS_NAMESPACE
from torchserve.cli.program import run as start

__all__ = ["TS_NAMESPACE", "load_properties", "start"]

if __name__ == "__main__":
    start()
