"""The only place that holds the version of this package."""

__version__ = "0.13.0"
