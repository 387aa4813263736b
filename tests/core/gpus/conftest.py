"""The driver of tests that ask one."""

from __future__ import annotations

from ...standins.nvml import fake_nvml, nvml_library

__all__ = ["fake_nvml", "nvml_library"]
