"""The table of what is compared, by theme."""

from __future__ import annotations

from ..steps import Setup
from . import (
    around,
    authors,
    commands,
    documents,
    envelopes,
    errors,
    grpc,
    inference,
    management,
    watching,
    workflow_nodes,
    workflows,
)

SETUPS: tuple[Setup, ...] = (
    *inference.SETUPS, *errors.SETUPS, *management.SETUPS, *around.SETUPS, *watching.SETUPS, *commands.SETUPS,
    *documents.SETUPS, *envelopes.SETUPS, *authors.SETUPS, *grpc.SETUPS, *workflows.SETUPS, *workflow_nodes.SETUPS,
)  # fmt: skip
