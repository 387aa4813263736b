"""The tests have the same names in each process: xdist refuses to run where two of its workers collect different ones."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CHANGING = (
    "gzip.compress",
    "time.",
    "random.",
    "secrets.",
    "uuid.uuid",
    "os.urandom",
    "os.getpid",
    "datetime.now",
    "datetime.datetime.now",
)


def changing(source: str) -> Iterator[str]:
    """Yield the calls in decorators, so in what tests are named by, whose value is another one in each process."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for call in (each for decorator in node.decorator_list for each in ast.walk(decorator)):
            if not isinstance(call, ast.Call):
                continue
            name = ast.unparse(call.func)
            fixed = any(keyword.arg == "mtime" for keyword in call.keywords)  # a gzip file tells when it was made
            if name.startswith(CHANGING) and not fixed:
                yield f"line {call.lineno}: {ast.unparse(call)}"


def test_no_test_is_named_by_what_changes() -> None:
    found = {
        str(path.relative_to(TESTS)): calls
        for path in TESTS.rglob("*.py")
        if (calls := list(changing(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


@pytest.mark.parametrize("call", ["gzip.compress(b'x')", "time.time()", "uuid.uuid4().hex"])
def test_a_planted_one_is_found(call: str) -> None:
    source = f"@pytest.mark.parametrize('x', [{call}])\ndef test(x): ..."
    assert len(list(changing(source))) == 1
    assert not list(changing(source.replace(call, "gzip.compress(b'x', mtime=0)")))
    assert not list(changing(f"def made(): return {call}"))
