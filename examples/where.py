"""Prints the path of a file of an installed package: `python examples/where.py PACKAGE FILE`."""

import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def where(package: str, file: str) -> Path:
    """Return the path of `file`, as the package's wheel names it. Exit if there is no such file."""
    try:
        found = Path(str(distribution(package).locate_file(file)))
    except PackageNotFoundError:
        sys.exit(f"{package} is not installed: pip install --no-deps {package}")
    if not found.is_file():
        sys.exit(f"this version of {package} has no {file}")
    return found


if __name__ == "__main__":
    print(where(*sys.argv[1:3]))
