"""The access log has TorchServe's shape and can't be forged."""

from __future__ import annotations

import pytest

from torchserve.http.accesslog import Entry


def test_the_shape_of_a_line() -> None:
    entry = Entry(1795343572.046, ("127.0.0.1", 51234), "POST", "/predictions/x?a=1", 200, 0.0139)
    assert entry.text() == '/127.0.0.1:51234 "POST /predictions/x?a=1 HTTP/1.1" 200 13'


@pytest.mark.parametrize(
    ("peer", "shown"),
    [(("::1", 5, 0, 0), "/[::1]:5 "), (None, "/unknown "), ("", "/unknown "), ("/run/x.sock", "//run/x.sock ")],
)
def test_peers_of_all_kinds(peer: object, shown: str) -> None:
    assert Entry(0.0, peer, "GET", "/", 200, 0.0, version="1.0").text() == f'{shown}"GET / HTTP/1.0" 200 0'


@pytest.mark.parametrize("evil", ['/a" 200 1', "/a\nb", "/\x1b[2J", "/\udcff", "/é\u202e"])
def test_a_target_can_not_forge_a_line(evil: str) -> None:
    text = Entry(0.0, ("1.2.3.4", 5), "GET", evil, 404, 0.0).text()
    assert text.isascii()
    assert text.isprintable()
    assert text.count('"') == 2
