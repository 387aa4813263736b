"""The addresses that an archive may be fetched from, as a table of our own, so that every version of Python decides
alike.

The table holds IANA's special-purpose addresses, and the metadata services of clouds, some of which Python takes for
global ones (3.11: 168.63.129.16 and 3fff::/20). An IPv4 address within an IPv6 address is checked as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

_Address = IPv4Address | IPv6Address

_NOT_PUBLIC_4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",
            "100.64.0.0/10",  # behind a carrier's NAT
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/3",  # multicast, reserved, broadcast
        ),
    )
)
_UNICAST_6 = IPv6Network("2000::/3")  # all that is assigned for the internet: not ::/96, fc00::/7, fe80::/10, …
_NOT_PUBLIC_6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation
            "3fff::/20",  # documentation
        ),
    )
)
_METADATA_4 = tuple(
    map(
        IPv4Network,
        (
            "169.254.0.0/16",  # AWS, Azure, Google, Oracle, OpenStack, …, and credentials of containers
            "100.100.100.200/32",  # Alibaba
            "100.88.222.5/32",  # Tencent
            "168.63.129.16/32",  # Azure's wire server
            "192.0.0.192/32",  # Oracle Classic
            "192.80.8.124/32",  # Equinix Metal
        ),
    )
)
_METADATA_6 = tuple(
    map(
        IPv6Network,
        (
            "fd00:ec2::/32",  # AWS
            "fd20:ce::254/128",  # Google
            "fd00:c1::a9fe:a9fe/128",  # Oracle
            "fd00:42::42/128",  # Scaleway
            "fd00:a9fe:a9fe::1/128",  # Linode
            "fd00:100::100:200/128",  # Alibaba
            "fe80::a9fe:a9fe/128",  # OpenStack
        ),
    )
)

_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_TRANSLATED = IPv6Network("::ffff:0:0:0/96")
_COMPATIBLE = IPv6Network("::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)  # the upper half of an interface identifier, before the IPv4 address


def is_public(address: _Address) -> bool:
    """Return whether `address`, and every address that it carries, is on the internet. Metadata services never are."""
    if is_metadata(address):
        return False
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if not all(map(is_public, _carried(address))):
        return False
    if address.ipv4_mapped is not None or address in _NAT64:
        return True
    return address in _UNICAST_6 and not any(address in network for network in _NOT_PUBLIC_6)


def is_metadata(address: _Address) -> bool:
    """Return whether `address`, or an address that it carries, is a cloud's metadata service, which gives out
    credentials.
    """
    if isinstance(address, IPv4Address):
        return any(address in network for network in _METADATA_4)
    # An address with a scope (fe80::…%eth0) is in no network.
    bare = IPv6Address(int(address))
    return any(bare in network for network in _METADATA_6) or any(map(is_metadata, _carried(bare)))


def _carried(address: IPv6Address) -> Iterator[IPv4Address]:
    """Yield the IPv4 addresses that an IPv6 address carries in a form that some host or router may act on."""
    number = int(address)
    last = IPv4Address(number & 0xFFFFFFFF)
    if address.ipv4_mapped is not None or any(
        address in network for network in (_NAT64, _NAT64_LOCAL, _TRANSLATED, _COMPATIBLE)
    ):
        yield last
    elif address.sixtofour is not None:
        yield address.sixtofour
    elif address.teredo is not None:
        yield from address.teredo
    elif number >> 32 & 0xFFFFFFFF in _ISATAP:
        yield last
