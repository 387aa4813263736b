"""Re-exports the names that scripts import from model_archiver.arg_parser."""

from torchserve.cli.export_utils import ArchiverArgParser as ArgParser

__all__ = ["ArgParser"]
