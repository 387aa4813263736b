"""The command `torchserve lint`, which reports what would fail or is dangerous in an archive before it is deployed."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from ..core.errors import ServeError
from ..core.lint.archive import lint as issues_of
from ..core.lint.issue import ERROR
from .predict import open_model


@click.command(context_settings={"max_content_width": 110})
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
def lint(models: tuple[Path, ...], strict: bool, as_json: bool) -> None:
    """Read MODELs (archives, folders or handlers' .py files) and say what would fail or is dangerous.

    Nothing of them is run: the manifest, the handler's signature, imports, calls such as eval or os.system, weights
    that don't fit or hold code, the yaml, and requirements are looked at. The exit code is 1 if there are errors.
    """
    failed, told = False, []
    for model in models:
        with tempfile.TemporaryDirectory(prefix="torchserve-lint-") as scratch:
            try:
                issues = issues_of(open_model(model, Path(scratch), None))
            except ServeError as error:
                issues = []
                told.append({"model": str(model), "level": ERROR, "file": "", "line": 0, "text": str(error)})
                if not as_json:
                    click.echo(f"{model}: {ERROR}: {error}")
                failed = True
            else:
                if not as_json:
                    click.echo("".join(f"{model}: {issue}\n" for issue in issues) or f"{model}: fine\n", nl=False)
        told += [{"model": str(model), **asdict(issue)} for issue in issues]
        failed = failed or any(strict or issue.level == ERROR for issue in issues)
    if as_json:
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    sys.exit(1 if failed else 0)
