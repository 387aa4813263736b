"""The table of what is compared, by theme."""

from __future__ import annotations

from ..steps import Setup
from . import errors, inference, management

SETUPS: tuple[Setup, ...] = (*inference.SETUPS, *errors.SETUPS, *management.SETUPS)
