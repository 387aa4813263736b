"""The headers of pages: they run no script but their own, load nothing from elsewhere, and stand in no other page."""

from __future__ import annotations

SAFE = (("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"))
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'{styles}; img-src 'self' data: blob:; connect-src 'self';"
    " form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


def page_headers(*, inline_styles: bool = False) -> tuple[tuple[str, str], ...]:
    """Return the headers of a page and of its files."""
    styles = " 'unsafe-inline'" if inline_styles else ""
    return (
        *SAFE,
        ("Content-Security-Policy", _POLICY.format(styles=styles)),
        ("X-Frame-Options", "DENY"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    )
