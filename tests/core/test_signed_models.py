"""A server with required_signers registers nothing that they have not signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchserve.core.archive.signatures import sign
from torchserve.core.errors import InvalidArchive

from .archive.test_signatures import key_pair
from .house import House, folder, packed

pytest.importorskip("model_signing", exc_type=ImportError)


async def test_only_what_is_signed_is_registered(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    key, public = key_pair(tmp_path, "ours")
    house = House(tmp_path, required_signers=(public,))
    packed(house.store, "m")
    folder(house.store, "f")
    for url, said in (("m.mar", "m.mar: it is not signed"), ("f", "f: a folder is not accepted")):
        with pytest.raises(InvalidArchive, match=said):
            await house.register(url)
    assert house.names == []
    sign(house.store / "m.mar", key)
    await house.register("m.mar")
    assert house.names == ["m/1.0"]
    await house.plane.close(0.0)
