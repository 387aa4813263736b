"""What scripts import from ts.model_server."""

from torchserve.cli.launcher import TS_NAMESPACE, load_properties
from torchserve.cli.main import main as start

__all__ = ["TS_NAMESPACE", "load_properties", "start"]
