"""Lint the chart, render it with the values of each case, validate what comes out, and write the plain manifests.

Needs `helm` and `kubernetes-validate`: `make charts` says where from.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

DEPLOY = Path(__file__).parents[1] / "deploy"
CHART = DEPLOY / "helm" / "torchserve"
PLAIN = DEPLOY / "kubernetes" / "torchserve.yaml"
CASES = {
    "defaults": [],
    "gpu": [
        "gpus=1", "keda.enabled=true", "keda.gpuUtilization=70", "serviceMonitor.enabled=true", "modelStore.kind=init",
        "modelStore.init.image=registry/models:1", "runtimeClassName=nvidia",
    ],
    "urls": [
        "hpa.enabled=true", "hpa.queueDepth=8", "hpa.gpuUtilization=70", "modelStore.kind=none", "models={s3://b/a.mar}",
        "modelStore.allowedUrls={s3://b/.*}", "service.type=LoadBalancer", "podDisruptionBudget.maxUnavailable=25%",
    ],
}  # fmt: skip
REFUSED = ["replica=3", "readyQueueLimit=101", "modelStore.kind=s3", "resources.limits.memory=lots"]
_HEAD = "# Made from deploy/helm with its default values by `make charts`. The claim torchserve-models is yours.\n"


def run(*words: str | Path) -> str:
    """Run a command and return its output; end this program with it where it fails."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def main() -> None:
    """Check the chart, and write what its default values give."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--helm", default="helm")
    parser.add_argument("--validate", default="kubernetes-validate")
    tools = parser.parse_args()
    sys.stdout.write(run(tools.helm, "lint", "--strict", CHART))
    with tempfile.TemporaryDirectory() as folder:
        for name, values in CASES.items():
            text = run(
                tools.helm, "template", "torchserve", CHART, *(word for each in values for word in ("--set", each))
            )
            rendered = Path(folder) / f"{name}.yaml"
            rendered.write_text(text)
            sys.stdout.write(run(tools.validate, "--strict", rendered))
            if not values:
                PLAIN.write_text(_HEAD + text.replace("managed-by: Helm", "managed-by: kubectl"))
    for value in REFUSED:
        done = subprocess.run(
            [tools.helm, "template", "torchserve", str(CHART), "--set", value], capture_output=True, check=False
        )
        if not done.returncode:
            sys.exit(f"values.schema.json lets {value} pass")


if __name__ == "__main__":
    main()
