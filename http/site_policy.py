"""SitePolicy: whether a web page that some other server served may be behind a request, and whether that is allowed.

A browser sends whatever a page tells it to, from wherever it runs: to 127.0.0.1 and to every address of its network. So
a page of anybody's is a client of this server as soon as its author lures in somebody who can reach the server. Three
headers tell such a request from a program's; a page can neither set nor remove any of them:

- `Origin` names the server that the page came from, on every request that is not GET or HEAD, and on every GET whose
  answer the page wants to read.
- `Sec-Fetch-Site` compares the page's origin with the request's. It is sent to https addresses and to loopback only.
  `none` is the address bar, `same-origin` a page of this server. `same-site` is as foreign as `cross-site`: a site has
  no port, so that every development server and notebook on http://localhost is of this server's site.
- `Host` names the server that the browser believes to talk to. It is the one that shows DNS rebinding: a page of
  http://evil.example:8081 whose name was made to mean 127.0.0.1 meanwhile is of the same origin as what it calls.

A program (curl, a client library, a probe, Prometheus) sends neither of the first two, and as Host what it was told.
Content types play no part, and no method is exempt: `no-cors` fetches, forms and images differ in those alone.

What Host may say follows from what rebinding gains, which is the place of the person who was lured. Nobody can make an
IP address mean another one, so that every address passes. Where a key is needed, the place is worth nothing, and every
name passes. Else:

                                    management, metrics           predictions
    at loopback                     names of this machine         and names that public DNS has not;
                                                                  every name, if no browser can have sent it
    beyond loopback                 and names that public         every name
                                    DNS has not

Names of the machine are those of its resolver and the configured ones. A name without a dot, or in `.svc`, is given by
the network itself: by Compose, Kubernetes, a proxy's `upstream`. An attacker who can give those is in the network
already, and an API beyond loopback is open to it anyway; at loopback it may predict, and not command. Load balancers
pass predictions on under any public name; foreign pages behind those still show by the other two headers. So does a
proxy on this machine that keeps the name which its client used (nginx with `proxy_set_header Host $host`), and there a
prediction that is not GET or HEAD and has no `Origin` is a program's. Management is stricter, as browsers of before
2020 left `Origin` out of some requests to what they believed to be the page's own server.

Routes of the inference API that need no key in any case (`/ping`, the health checks, the API's description: `public`
below) answer to every name: they change nothing, and what they tell is of no use to a page.

CORS lets pages of an origin predict. For the other APIs it is narrower than the setting's name says: pages of one named
origin may read them, and command only where a key is asked for; `*` counts for predictions and with keys.

What remains: a GET without an answer, such as an image, to a plain http address beyond loopback has none of the marks.
The management API does nothing on a GET; a prediction by GET runs, and the page learns nothing of it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..core.errors import ForeignSite
from .message.request import Head

# Who can connect to a listener: processes of this machine by a file, all of this machine, or others too.
Reach: TypeAlias = Literal["unix", "loopback", "network"]

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+(?:%[\w.~-]+)?\]|[^\s:/?#@\[\]\\]+)(?::([0-9]{0,5}))?", re.ASCII)
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(.+)", re.ASCII)
_NUMBERS = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+))*", re.ASCII)  # 127.1 is an address
_PORTS = {"http": 80, "https": 443}
_WITHOUT_ORIGIN = frozenset(("GET", "HEAD"))  # methods with which a browser leaves Origin out at times
_OWN_PAGES = frozenset(("same-origin", "none"))
# Top-level domains that public DNS has not, and is not going to have (RFC 6761, RFC 6762 appendix G, RFC 8375, and
# ICANN's resolutions on .internal, .corp and .home), and `.svc`, which is Kubernetes'.
_PRIVATE = (
    ".internal", ".local", ".localdomain", ".svc", ".home.arpa", ".lan", ".intranet", ".private", ".corp", ".home",
)  # fmt: skip
_SHOWN = re.compile(r"[a-z0-9+:/._\[\]-]{1,253}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Hosts:
    """The names of this server: `names` of the machine and of its addresses, and what allowed_hosts lists: `name`,
    `name:port`, `*.domain`, or `*` for every name.
    """

    names: frozenset[str] = frozenset()
    allowed: tuple[str, ...] = ()

    def known(self, name: str, port: int | None) -> bool:
        """Return whether a request for `name` is for this server."""
        if name in self.names or name == "localhost" or name.endswith(".localhost"):
            return True
        if name in self.allowed or f"{name}:{port}" in self.allowed:
            return True
        return any(each == "*" or (each.startswith("*.") and name.endswith(each[1:])) for each in self.allowed)

    def serves_pages(self, name: str, port: int, usual: int) -> bool:
        """Return whether pages of this name are the server's own: without a listed port, those at the `usual` one."""
        return f"{name}:{port}" in self.allowed or (port == usual and name in self.allowed)


@dataclass(frozen=True, slots=True)
class SitePolicy:
    """A policy: which pages may call which API. `cors_origin` is cors_allowed_origin; `tokens`: keys are needed."""

    hosts: Hosts = Hosts()
    cors_origin: str = ""
    tokens: bool = False

    def check(self, head: Head, api: str, reach: Reach) -> None:
        """Raise ForeignSite unless this request may be made of the API `api`, at a listener that `reach` can reach.

        An API that is not known here counts as one that commands and asks for no key.
        """
        said = _Said(head)
        if reach != "unix":
            by_any_name = self._by_any_name(head.method, said, api, reach)
            for authority in said.hosts:
                self._check_host(authority, api, reach, by_any_name=by_any_name)
        self._check_origin(said, head.method, "inference" if api == "public" else api)

    def _by_any_name(self, method: str, said: _Said, api: str, reach: Reach) -> bool:
        if api == "inference":
            return reach == "network" or (method not in _WITHOUT_ORIGIN and not said.origins)
        return api == "public"

    def _keyed(self, api: str) -> bool:
        return self.tokens and api in {"inference", "management"}

    def _check_host(self, authority: str, api: str, reach: Reach, *, by_any_name: bool) -> None:
        parts = _split(authority)
        if parts is not None:
            name, port = parts
            if self._keyed(api) or self.hosts.known(name, port) or _is_address(name):
                return
            further = reach == "network" or api == "inference"
            if by_any_name or (further and ("." not in name or name.endswith(_PRIVATE))):
                return
        name = _shown(parts[0] if parts else authority, "that Host")
        raise ForeignSite(
            f"This server does not know itself as {name}, and a web page may be behind that (DNS rebinding)."
            f" If it is a name of this server, set allowed_hosts={name} in its configuration."
        )

    def _check_origin(self, said: _Said, method: str, api: str) -> None:
        if api == "inference" and said.sites and said.sites <= {"same-origin"}:
            return  # whatever a proxy has made of Host
        foreign = [origin for origin in said.origins if not self._is_own(origin, said.hosts)]
        if not foreign and said.sites <= _OWN_PAGES:
            return
        if self._cors_lets(said.origins, method, api):
            return
        origin = _shown(foreign[0], "") if foreign else ""
        raise ForeignSite(
            f"Web pages of other origins may not call the {api} API{f' ({origin})' if origin else ''}. {_advice(api)}"
        )

    def _cors_lets(self, origins: list[str], method: str, api: str) -> bool:
        """Return whether CORS lets these pages call.

        `*` is every page; another value only pages that name themselves, which takes a fetch in the mode `cors`.
        """
        named = bool(origins) and set(origins) == {self.cors_origin.lower()}
        if api == "inference" or self._keyed(api):
            return named or self.cors_origin == "*"
        return named and method in {"GET", "HEAD"} and api in {"management", "metrics"}

    def _is_own(self, origin: str, hosts: list[str]) -> bool:
        """Return whether a page of `origin` came from where the request goes, or from a name that is configured."""
        found = _ORIGIN.fullmatch(origin)
        parts = _split(found[2]) if found is not None else None
        if found is None or parts is None or found[1] not in _PORTS:
            return False
        usual = _PORTS[found[1]]
        name, port = parts[0], parts[1] or usual
        for called, at in filter(None, map(_split, hosts)):
            if called == name and (at or usual) == port:
                return True
        return self.hosts.serves_pages(name, port, usual)


class _Said:
    """The headers that say where a request comes from and goes to, in lower case; of each every value that came."""

    __slots__ = ("hosts", "origins", "sites")

    def __init__(self, head: Head) -> None:
        values: dict[bytes, list[str]] = {b"host": [], b"origin": [], b"sec-fetch-site": []}
        for name, value in head.raw_headers:
            found = values.get(name.lower())
            if found is not None and (text := value.strip(b" \t")):
                found.append(text.decode("latin-1").lower())
        self.hosts = values[b"host"]
        self.origins = values[b"origin"]
        self.sites = frozenset(values[b"sec-fetch-site"])
        if not head.target.startswith("/") and "://" in head.target:  # as proxies send it; it comes before Host
            self.hosts.append(re.split(r"[/?#]", head.target.partition("://")[2].lower(), maxsplit=1)[0])


def _advice(api: str) -> str:
    if api == "inference":
        return "To let one, set cors_allowed_origin; for a proxy's own pages, set allowed_hosts to the proxy's name."
    return "For a proxy's own pages, set allowed_hosts to the proxy's name."


def _split(authority: str) -> tuple[str, int | None] | None:
    """Return (name without final dot, port) of a Host in lower case; None for what is none. IPv6 keeps its brackets."""
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        return None
    return found[1].removesuffix("."), int(found[2]) if found[2] else None


def _is_address(name: str) -> bool:
    if _NUMBERS.fullmatch(name):
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _shown(text: str, otherwise: str) -> str:
    """Return `text` if it may stand in an answer and in a log, else `otherwise`."""
    return text if _SHOWN.fullmatch(text) else otherwise
