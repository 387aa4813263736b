"""Re-exports the names that scripts import from ts.arg_parser."""

from torchserve.cli.export_utils import ServerArgParser as ArgParser

__all__ = ["ArgParser"]
