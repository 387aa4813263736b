"""Request ids are fresh UUID4s."""

from __future__ import annotations

import uuid

from torchserve.http.message.ids import fresh_id


def test_ids_are_uuid4_and_all_different() -> None:
    ids = [fresh_id() for _ in range(20_000)]
    assert len(set(ids)) == len(ids)
    for each in ids:
        parsed = uuid.UUID(each)
        assert (str(parsed), parsed.version, parsed.variant) == (each, 4, uuid.RFC_4122)
    assert {each[19] for each in ids} == set("89ab")
