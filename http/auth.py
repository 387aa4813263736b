"""TokenAuth: decides by a request's key what it may call. Each route names the scope that it needs."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from hmac import compare_digest
from math import inf
from pathlib import Path
from time import time
from typing import Literal, TypeAlias

from ..core.errors import Broken
from ..core.key_file import KeyFile
from ..core.tokens import Kind, Renewable, Tokens
from .message.errors import Challenged, InvalidKey

# open: no key is asked for. token: the key that makes new keys.
Scope: TypeAlias = Literal["open", "inference", "management", "token"]

_KINDS: dict[Scope, Kind] = {"inference": "inference", "management": "management", "token": "API"}
_REFUSED = "Token Authorization failed. Token either incorrect, expired, or not provided correctly"
_NOT_RENEWED = "Token Authentication failed. Token either incorrect, expired, or not provided correctly"


class TokenAuth:
    """The token authorization of a server. Where it is off there is no TokenAuth.

    With `challenge` a refusal is 401 with `WWW-Authenticate`, else TorchServe's 400.
    """

    def __init__(self, tokens: Tokens, file: KeyFile, *, challenge: bool = False) -> None:
        self._tokens = tokens
        self._usual = _usual(tokens)
        self._file = file
        self._renewing = asyncio.Lock()
        self._error = Challenged if challenge else InvalidKey

    @classmethod
    def set_up(cls, life: float, folder: Path, *, challenge: bool = False) -> TokenAuth:
        """Make new keys and write them to the key file in `folder`. Raises InvalidConfig."""
        token_auth = cls(Tokens.fresh(life, time()), KeyFile(folder), challenge=challenge)
        token_auth._file.create(token_auth._tokens.as_json())
        return token_auth

    @property
    def path(self) -> Path:
        return self._file.path.absolute()

    def check(self, scope: Scope, fields: Mapping[str, str]) -> None:
        """Raise InvalidKey unless these headers, by lower-case name, hold a key for `scope`."""
        if scope == "open":
            return
        # Nearly every request spells its header like this; `_opens` reads all other spellings.
        given, (usual, expires) = fields.get("authorization", ""), self._usual[scope]
        if given.isascii() and compare_digest(given, usual) and time() < expires:
            return
        if not self._opens(scope, fields):
            raise self._error(_NOT_RENEWED if scope == "token" else _REFUSED)

    def check_any(self, scopes: Collection[Scope], fields: Mapping[str, str]) -> None:
        """Raise InvalidKey unless these headers hold a key for any of `scopes`.

        A path or method that is in no row of the table is reported only to a client with one of the listener's keys.
        """
        keys = set(scopes) - {"open"}
        if keys and not any(self._opens(scope, fields) for scope in keys):
            raise self._error(_REFUSED)

    async def renew(self, kind: Renewable) -> None:
        """Replace a key, first in the file: a key that nobody could read must never be valid. Raises Broken."""
        async with self._renewing:
            tokens = self._tokens.renewed(kind, time())
            try:
                await asyncio.to_thread(self._file.write, tokens.as_json())
            except OSError as error:
                raise Broken(
                    f"The new {kind} key could not be written to {self._file.path.name}, the old one stays:"
                    f" {error.strerror}."
                ) from None
            self._tokens, self._usual = tokens, _usual(tokens)

    def close(self) -> None:
        """Delete the key file."""
        self._file.remove()

    def _opens(self, scope: Scope, fields: Mapping[str, str]) -> bool:
        scheme, _, key = fields.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._tokens.opens(_KINDS[scope], key.strip(" \t"), time())


def _usual(tokens: Tokens) -> dict[Scope, tuple[str, float]]:
    """Return by scope the usual spelling of its `Authorization` header, and when the key expires."""
    usual: dict[Scope, tuple[str, float]] = {}
    for scope, kind in _KINDS.items():
        token = tokens.by_kind[kind]
        usual[scope] = f"Bearer {token.key}", inf if token.expires is None else token.expires
    return usual
