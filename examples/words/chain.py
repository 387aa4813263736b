"""Writes chain.json, which says which words follow each pair of words in a text; by default in the Zen of Python.

Run `python chain.py FOLDER [TEXT_FILE]`. A longer text gives more varied answers.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import sys
from collections import defaultdict
from pathlib import Path


def zen() -> str:
    """Return the text that `import this` prints, without its heading."""
    with contextlib.redirect_stdout(io.StringIO()):
        import this  # importing it is how to get at it
    return codecs.decode(this.s, "rot13").partition("\n\n")[2]


def main(folder: Path, text: str) -> None:
    """Write chain.json into `folder`."""
    words = text.split()
    follow: dict[str, list[str]] = defaultdict(list)
    for first, second, third in zip(words, words[1:], [*words[2:], ""], strict=False):
        follow[f"{first} {second}"].append(third)
    (folder / "chain.json").write_text(json.dumps(follow, ensure_ascii=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]).read_text() if len(sys.argv) > 2 else zen())
