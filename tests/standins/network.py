"""Network: a network of one cable to a namespace of this host, which is cut, or drops packets. Only root can make one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

needs_network = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="network namespaces are made by root, with ip"
)


class Network:
    """A namespace that is joined to this host by one cable. `address` is this host's on it, `far` the namespace's."""

    def __init__(self) -> None:
        number = os.getpid()
        self.space, self._ours, self._theirs = f"tsn{number}", f"tsa{number}", f"tsb{number}"
        subnet = f"10.213.{number % 250}"
        self.address, self.far = f"{subnet}.1", f"{subnet}.2"
        self.inside = ("ip", "netns", "exec", self.space)
        _run("ip", "netns", "add", self.space)
        _run("ip", "link", "add", self._ours, "type", "veth", "peer", "name", self._theirs, "netns", self.space)
        _run("ip", "addr", "add", f"{self.address}/24", "dev", self._ours)
        _run("ip", "-n", self.space, "addr", "add", f"{self.far}/24", "dev", self._theirs)
        _run("ip", "-n", self.space, "link", "set", self._theirs, "up")
        _run("ip", "-n", self.space, "link", "set", "lo", "up")
        self.heal()

    def cut(self) -> None:
        """Drop every packet from now on; no end learns of it."""
        _run("ip", "link", "set", self._ours, "down")

    def heal(self) -> None:
        """Let packets pass again, and reach this host's other addresses, too."""
        _run("ip", "link", "set", self._ours, "up")
        _run("ip", "-n", self.space, "route", "replace", "default", "via", self.address)

    def crowd(self, rate: str) -> None:
        """Drop, both ways, the packets that come faster than `rate` (such as 50mbit), as a full router does."""
        kind = ("root", "tbf", "rate", rate, "burst", "16kb", "limit", "16kb")
        _run("tc", "qdisc", "replace", "dev", self._ours, *kind)
        _run(*self.inside, "tc", "qdisc", "replace", "dev", self._theirs, *kind)

    def dropped(self) -> int:
        """Return how many packets were dropped so far."""
        both = _run("tc", "-s", "qdisc", "show", "dev", self._ours)
        both += _run(*self.inside, "tc", "-s", "qdisc", "show", "dev", self._theirs)
        return sum(map(int, re.findall(r"dropped (\d+)", both)))

    def uncrowd(self) -> None:
        """Let packets pass at any rate again."""
        _run("tc", "qdisc", "del", "dev", self._ours, "root")
        _run(*self.inside, "tc", "qdisc", "del", "dev", self._theirs, "root")

    def remove(self) -> None:
        _run("ip", "link", "del", self._ours)
        _run("ip", "netns", "del", self.space)


def _run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout
