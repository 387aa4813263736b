"""The headers of what pages read."""

from __future__ import annotations

SAFE = (("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"))
