"""Who may be behind a request: origin x host x fetch-site x API x method x listener, as one table; no socket here."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.errors import ForeignSite
from torchserve.http.message.request import Head
from torchserve.http.site_policy import Hosts, Reach, SitePolicy

APIS = ("inference", "public", "management", "metrics", "some later one")
METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS")
REACHES: tuple[Reach, ...] = ("unix", "loopback", "network")
HOSTS = Hosts(
    frozenset(("gpu7", "gpu7.example.com", "bound.example")),
    ("models.example.com", "other.example:9000", "*.prod.example", "[2001:db8::7]:8081"),
)
PLAIN = SitePolicy(HOSTS)

# What Host says, and at which listeners that passes for management where no key is asked for.
EVERYWHERE, PRIVATE, NOWHERE, BROKEN = {"loopback", "network"}, {"network"}, set[str](), frozenset[str]()
HOST = {
    "": EVERYWHERE,  # HTTP/1.0, and an empty one
    "127.0.0.1": EVERYWHERE,
    "127.0.0.1:8081": EVERYWHERE,
    "127.1:8081": EVERYWHERE,
    "2130706433": EVERYWHERE,
    "0.0.0.0:8080": EVERYWHERE,
    "[::1]:8081": EVERYWHERE,
    "[::1]": EVERYWHERE,
    "[fe80::1%eth0]:8080": EVERYWHERE,
    "10.1.2.3:8081": EVERYWHERE,
    "203.0.113.9": EVERYWHERE,
    "localhost": EVERYWHERE,
    "LocalHost.:8081": EVERYWHERE,
    "a.localhost:1": EVERYWHERE,
    "gpu7": EVERYWHERE,
    "GPU7.example.com:8081": EVERYWHERE,
    "bound.example:8081": EVERYWHERE,
    "models.example.com": EVERYWHERE,
    "models.example.com:8443": EVERYWHERE,
    "other.example:9000": EVERYWHERE,
    "a.b.prod.example:8081": EVERYWHERE,
    "torchserve:8081": PRIVATE,
    "torch_serve": PRIVATE,
    "torchserve.default.svc:8080": PRIVATE,
    "torchserve.default.svc.cluster.local:8080": PRIVATE,
    "ip-10-0-0-1.ec2.internal": PRIVATE,
    "evil.example:8081": NOWHERE,
    "evil.example": NOWHERE,
    "other.example:9001": NOWHERE,
    "prod.example": NOWHERE,
    "evilprod.example": NOWHERE,
    "torchserve.ai:8081": NOWHERE,
    "localhost.evil.example": NOWHERE,
    "127.0.0.1.evil.example": NOWHERE,
    "127.0.0.1@evil.example": BROKEN,
    "evil.example@127.0.0.1": BROKEN,
    "127.0.0.1:8081/x": BROKEN,
    "127.0.0.1 evil.example": BROKEN,
    "127.0.0.1, evil.example": BROKEN,
    "1.2.3.4.com": NOWHERE,
    "0xcafe.example": NOWHERE,
    "[::1": BROKEN,
    "\u00e9vil.example": NOWHERE,
}
FETCH = {None: True, "": True, "none": True, "same-origin": True, "same-site": False, "cross-site": False, "Cross-Site": False, "new-word": False}  # fmt: skip
# Pages of names that are listed are the server's own whatever Host says; of others, where Host says the same.
OWN = ("https://models.example.com", "HTTPS://Models.example.com:443", "http://other.example:9000")
SAME = {
    ("http://127.0.0.1:8081", "127.0.0.1:8081"), ("http://127.0.0.1", "127.0.0.1"), ("https://127.0.0.1", "127.0.0.1"),
    ("http://localhost:8081", "LocalHost.:8081"), ("http://evil.example:8081", "evil.example:8081"),
    ("http://evil.example", "evil.example"),
}  # fmt: skip
FOREIGN = (
    "http://127.0.0.1:8081", "http://evil.example", "http://evil.example:8081", "https://127.0.0.1", "http://127.0.0.1", "http://127.0.0.1:3000",
    "http://localhost:8081", "http://models.example.com:3000", "http://other.example", "http://a.prod.example", "null",
    "file://", "chrome-extension://abcdef", "vscode-webview://127.0.0.1:8081", "127.0.0.1:8081", "garbage",
    "http://127.0.0.1:8081@evil.example", "http://127.0.0.1:8081 http://evil.example", "http://",
)  # fmt: skip


def head(
    method: str = "POST", host: str | None = "127.0.0.1:8081", origin: str | None = None, site: str | None = None,
    target: str = "/models", more: tuple[tuple[bytes, bytes], ...] = (),
) -> Head:  # fmt: skip
    said = (("Host", host), ("ORIGIN", origin), ("sec-fetch-SITE", site))
    fields = [(name.encode(), b" %b " % value.encode("latin-1")) for name, value in said if value is not None]
    return Head(method, target, [*fields, *more])


def passes(policy: SitePolicy, given: Head, api: str = "management", reach: Reach = "loopback") -> bool:
    try:
        policy.check(given, api, reach)
    except ForeignSite:
        return False
    return True


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("reach", REACHES)
def test_the_table(api: str, reach: Reach) -> None:
    """Whatever the method: a request passes if its Host does, and its Origin, and its Sec-Fetch-Site."""
    for method, host, origin, site in product(METHODS, HOST, (None, *OWN, *FOREIGN), FETCH):
        where = HOST[host]
        host_passes = reach == "unix" or reach in where
        if api == "inference":  # predictions go one step further
            any_name = reach == "network" or (method != "GET" and origin is None)
            host_passes = host_passes or (where is not BROKEN if any_name else where is PRIVATE)
        if api == "public":
            host_passes = host_passes or where is not BROKEN
        origin_passes = origin is None or origin in OWN or (origin, host) in SAME
        if api in {"inference", "public"} and site == "same-origin":
            origin_passes = True
        expected = host_passes and origin_passes and FETCH[site]
        found = passes(PLAIN, head(method, host, origin, site), api, reach)
        assert found == expected, (method, host, origin, site)


@pytest.mark.parametrize(
    ("origin", "host", "own"),
    [
        ("http://10.0.0.7:8081", "10.0.0.7:8081", True),
        ("https://gpu7", "gpu7", True),
        ("https://gpu7", "gpu7:443", True),
        ("https://gpu7:443", "gpu7", True),
        ("http://gpu7", "gpu7:80", True),
        ("http://gpu7", "gpu7:443", False),
        ("http://gpu7", "gpu7:8081", False),
        ("http://gpu7:8081", "gpu7", False),
        ("http://[::1]:8081", "[::1]:8081", True),
        ("http://gpu7.", "gpu7", True),
        ("http://gpu7", "", False),
        ("http://[2001:db8::7]:8081", "gpu7", True),
    ],
)
def test_a_page_is_the_servers_own_if_it_came_from_where_the_request_goes(origin: str, host: str, own: bool) -> None:
    assert passes(PLAIN, head(host=host, origin=origin)) is own


# (cors_allowed_origin, Origin, Sec-Fetch-Site) -> whether CORS lets it
CORS = [
    ("https://app.example", "https://app.example", "cross-site", True),
    ("https://app.example", "https://app.example", "same-site", True),
    ("https://app.example", "https://app.example", None, True),
    ("https://App.example", "https://app.example", None, True),
    ("https://app.example", "http://app.example", "cross-site", False),
    ("https://app.example", "https://app.example.evil.example", "cross-site", False),
    ("https://app.example", "https://evil.example", "cross-site", False),
    ("https://app.example", "null", "cross-site", False),
    ("https://app.example", None, "cross-site", False),  # an image: which page has it, nothing says
    ("*", "https://evil.example", "cross-site", True),
    ("*", "null", "cross-site", True),
    ("*", None, "cross-site", True),
    ("null", "null", "cross-site", True),
    ("null", "https://evil.example", "cross-site", False),
]


@pytest.mark.parametrize(("setting", "origin", "site", "lets"), CORS)
@pytest.mark.parametrize("method", METHODS)
def test_cors_lets_pages_predict_and_a_named_one_read_and_command_only_with_a_key(
    setting: str, origin: str | None, site: str | None, lets: bool, method: str
) -> None:
    given = head(method, origin=origin, site=site)
    for tokens in (False, True):
        policy = SitePolicy(HOSTS, setting, tokens)
        found = {api: passes(policy, given, api) for api in APIS}
        reads = lets and setting != "*" and method == "GET"
        # Metrics and what is to come ask for no key, tokens or not.
        expected = {"inference": lets, "public": lets, "management": reads or (lets and tokens), "metrics": reads}
        assert found == {**expected, "some later one": False}


@pytest.mark.parametrize("setting", ["*", "https://app.example"])
def test_cors_does_not_excuse_a_rebound_name(setting: str) -> None:
    given = head("GET", host="evil.example", origin="https://app.example", site="cross-site")
    assert {api for api in APIS if passes(SitePolicy(HOSTS, setting), given, api)} == {"public"}


@pytest.mark.parametrize("host", [host for host, where in HOST.items() if where != EVERYWHERE and "." in host[1:-1]])
def test_where_a_key_is_asked_for_every_name_passes(host: str) -> None:
    policy = SitePolicy(HOSTS, tokens=True)
    sound = re.fullmatch(r"[^@/ ,]+", host) is not None
    assert passes(policy, head(host=host)) is sound
    assert passes(policy, head(host=host), "metrics") is False
    assert not passes(policy, head(host=host, origin="https://worse.example"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("origin", "site"), [(None, None), ("http://evil.example", None), (None, "same-site")])
def test_behind_a_proxy_of_this_machine_a_program_predicts_under_any_name(
    method: str, origin: str | None, site: str | None
) -> None:
    given = head(method, "evil.example", origin, site)
    assert passes(PLAIN, given, "inference") is (method != "GET" and origin is None and site is None)
    assert not passes(PLAIN, given, "management")


def test_a_star_is_every_name_and_no_origin() -> None:
    policy = SitePolicy(Hosts(allowed=("*",)))
    assert passes(policy, head(host="evil.example:8081", origin="http://evil.example:8081"))
    assert not passes(policy, head(origin="http://evil.example:8081"))
    assert not passes(policy, head(host="evil.example", site="cross-site"))


def test_each_of_several_values_must_pass() -> None:
    for name, good, bad in (
        (b"Host", b"localhost", b"evil.example"),
        (b"Origin", b"http://127.0.0.1:8081", b"http://evil.example"),
        (b"Sec-Fetch-Site", b"none", b"cross-site"),
    ):
        assert passes(PLAIN, head(more=((name, good), (name, good))))
        for pair in ((good, bad), (bad, good)):
            assert not passes(PLAIN, head(more=tuple((name, value) for value in pair)))
            assert not passes(SitePolicy(cors_origin="http://127.0.0.1:8081"), head(more=((name, bad), (name, good))))


@pytest.mark.parametrize(
    ("target", "host", "ok"),
    [
        ("http://127.0.0.1:8081/models", "127.0.0.1:8081", True),
        ("http://evil.example/models", "127.0.0.1:8081", False),
        ("http://127.0.0.1/models", "evil.example", False),
        ("HTTP://EVIL.example", "127.0.0.1", False),
        ("http://evil.example?://127.0.0.1/", "127.0.0.1", False),
        ("*", "127.0.0.1", True),
        ("/models?url=http://evil.example/x", "127.0.0.1", True),
    ],
)
def test_a_name_in_the_target_counts_like_host(target: str, host: str, ok: bool) -> None:
    assert passes(PLAIN, head(target=target, host=host)) is ok


@pytest.mark.parametrize(
    ("given", "api", "words"),
    [
        (head(host="gpu9.example.com:8082"), "metrics", "set allowed_hosts=gpu9.example.com in"),
        (
            head(origin="http://evil.example"),
            "inference",
            "(http://evil.example). To let one, set cors_allowed_origin;",
        ),
        (head(origin="http://evil.example"), "management", "may not call the management API (http://evil.example)."),
        (head(site="cross-site"), "metrics", "Web pages of other origins may not call the metrics API. For"),
        (head(host="a<b>.example"), "management", "does not know itself as that Host, and"),
        (head(host="x" * 300 + ".example"), "management", "does not know itself as that Host, and"),
        (head(origin="http://<script>"), "inference", "other origins may not call the inference API. To"),
    ],
)
def test_a_refusal_says_what_to_set_and_repeats_nothing_strange(given: Head, api: str, words: str) -> None:
    with pytest.raises(ForeignSite) as caught:
        PLAIN.check(given, api, "loopback")
    assert words in caught.value.message
    assert "<" not in caught.value.message


@given(st.text(st.characters(max_codepoint=255)), st.text(st.characters(max_codepoint=255)), st.sampled_from(REACHES))
def test_whatever_comes_is_let_or_refused(host: str, origin: str, reach: Reach) -> None:
    for api in APIS:
        refused = not passes(PLAIN, head(host=host, origin=origin), api, reach)
        if origin.strip(" \t") and not origin.lower().strip(" \t").startswith("http"):
            assert refused
