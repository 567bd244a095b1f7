from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.allowed_hosts import (
    check_destination,
    check_literal,
    is_allowed,
    is_allowed_by_name,
)
from broker.errors import OrderError

PRIVATE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.1", "224.0.0.1",
    "255.255.255.255", "168.63.129.16", "::1", "::", "fe80::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1",
    "::127.0.0.1", "2002:7f00:1::", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
]  # fmt: skip
PUBLIC = [
    "8.8.8.8",
    "52.219.1.1",
    "2600:1f18::1",
    "::ffff:8.8.8.8",
    "2002:808:808::",
    "64:ff9b::808:808",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_refused_unless_listed(address: str) -> None:
    """Loopback, private, link-local, metadata and wrapped addresses need an entry, and one is
    enough."""
    assert not is_allowed("slides.example", ip_address(address), 443, ())
    assert is_allowed("slides.example", ip_address(address), 443, ("slides.example",))


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_needs_no_entry(address: str) -> None:
    """Public addresses are allowed, also wrapped into IPv6."""
    assert is_allowed("slides.example", ip_address(address), 443, ())


@pytest.mark.parametrize(
    "entry",
    [
        "pacs.local",
        "PACS.local.",
        "pacs.local:443",
        "10.1.2.3",
        "10.1.2.3:443",
        "10.0.0.0/8",
        "10.1.2.3/8",
        " 10.1.2.3 ",
    ],
)
def test_an_entry_is_a_name_an_address_or_a_network(entry: str) -> None:
    """Names, addresses and networks match in any case, with a trailing dot and with their port."""
    assert is_allowed("pacs.local", ip_address("10.1.2.3"), 443, (entry,))
    assert not is_allowed("other.local", ip_address("192.168.1.1"), 443, (entry,))


@pytest.mark.parametrize("entry", ["pacs.local:8080", "10.1.2.3:8080", "http://pacs.local:8080"])
def test_a_port_in_an_entry_means_that_port(entry: str) -> None:
    """A service on another port of the same host is not listed by it."""
    assert is_allowed("pacs.local", ip_address("10.1.2.3"), 8080, (entry,))
    assert not is_allowed("pacs.local", ip_address("10.1.2.3"), 6379, (entry,))


@pytest.mark.parametrize(
    ("address", "wide", "itself"),
    [
        ("169.254.169.254", "0.0.0.0/0", "169.254.169.254"),
        ("169.254.169.254", "168.0.0.0/7", "169.254.0.0/16"),
        ("169.254.170.2", "128.0.0.0/1", "169.254.170.0/24"),
        ("fe80::1", "::/0", "fe80::/10"),
        ("fd00:ec2::254", "fc00::/7", "fd00:ec2::254"),
        ("100.100.100.200", "100.64.0.0/10", "100.100.100.200"),
        ("168.63.129.16", "168.63.0.0/16", "168.63.129.16/32"),
        ("64:ff9b::a9fe:a9fe", "0.0.0.0/0", "169.254.169.254:80"),
    ],
)
def test_a_wide_network_does_not_include_where_clouds_hand_out_credentials(
    address: str, wide: str, itself: str
) -> None:
    """Link-local addresses and metadata services must be named by themselves."""
    assert not is_allowed("x", ip_address(address), 80, (wide,))
    assert is_allowed("x", ip_address(address), 80, (wide, itself))


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("slides.example.com", True),
        ("8.8.8.8", True),
        ("intranet", False),
        ("metadata.google.internal", False),
        ("pacs.local", False),
        ("10.1.2.3", False),
        ("2130706433", False),
        ("localhost", False),
    ],
)
def test_behind_a_proxy_a_name_is_judged_as_it_is_written(host: str, allowed: bool) -> None:
    """The proxy resolves names. What can only be private must be listed."""
    assert is_allowed_by_name(host, 80, ()) is allowed
    assert is_allowed_by_name(host, 80, (host,))


@pytest.mark.parametrize(
    ("url", "allow_hosts", "code"),
    [
        ("http://8.8.8.8/x", (), "destination_not_encrypted"),
        ("http://loader.example/x", (), "destination_not_encrypted"),
        ("http://loader.example/x", ("127.0.0.1",), "destination_not_encrypted"),
        ("http://loader.example:81/x", ("loader.example:80",), "destination_not_encrypted"),
        ("https://me:pass@loader.example/x", (), "request_invalid"),
        ("http://127.0.0.1/x", (), "host_not_allowed"),
    ],
)
def test_results_do_not_go_to_a_public_host_in_plain_text(
    url: str, allow_hosts: tuple[str, ...], code: str
) -> None:
    """Nor to a private host that is not listed, nor with a login that would replace the token."""
    with pytest.raises(OrderError) as caught:
        check_destination(url, allow_hosts, "destination.url")
    assert (caught.value.code, caught.value.field) == (code, "destination.url")
    assert caught.value.hint
    assert "pass@" not in str(caught.value.problem.as_dict())


@pytest.mark.parametrize(
    ("url", "allow_hosts"),
    [
        ("http://loader.example/x", ("loader.example",)),
        ("http://loader.example/x", ("loader.example:80",)),
        ("http://loader.example/x", ("10.0.0.0/8",)),
        ("http://127.0.0.1/x", ("127.0.0.1",)),
        ("https://loader.example/x", ()),
        ("ci.techcyte.com", ()),
    ],
)
def test_a_listed_host_may_get_results_over_http(url: str, allow_hosts: tuple[str, ...]) -> None:
    """A name that may lie in a listed network is left to the worker, which sees its address."""
    check_destination(url, allow_hosts, "destination.url")


@pytest.mark.parametrize(
    "entry", ["", "::1", "[::1]:80", "fd00::/8", "http://[", "pacs.local.evil"]
)
def test_an_entry_for_something_else_allows_nothing(entry: str) -> None:
    """An entry that is empty, broken or of the other address family lets no private IPv4 address
    through."""
    assert not is_allowed("pacs.local", ip_address("10.1.2.3"), 80, (entry,))


@pytest.mark.parametrize(
    "written",
    [
        "http://127.0.0.1/x", "https://user@10.0.0.1:8443/x", "http://[::1]:80/", "http://2130706433/", "http://127.1/",
        "http://0x7f000001/", "http://0177.0.0.1/", "http://0x7f.1/", "http://127.0.0.1./", "http://localhost/",
        "http://LOCALHOST.:80/", "http://a.localhost/", "http://[::ffff:10.0.0.1]/", "localhost:80", "10.0.0.1", "::1",
        "[::1]:443", "http://0/",
    ],
)  # fmt: skip
def test_a_private_host_is_seen_in_every_notation(written: str) -> None:
    """Decimal, octal, hexadecimal and short addresses are the same private host, and the error
    names the field."""
    with pytest.raises(OrderError) as caught:
        check_literal(written, (), "scans[0].source.url")
    assert (caught.value.code, caught.value.field) == ("host_not_allowed", "scans[0].source.url")


@pytest.mark.parametrize(
    "written",
    ["https://bucket.example/s.svs?X=1", "ci.techcyte.com", "http://8.8.8.8/", "1.2.3.4.5"],
)
def test_names_and_public_addresses_are_allowed(written: str) -> None:
    """No DNS is asked when an order is checked, so a name passes whatever it resolves to."""
    check_literal(written, (), "x")


@pytest.mark.parametrize("entry", ["127.0.0.1", "localhost", "127.0.0.0/8"])
def test_localhost_is_allowed_when_listed(entry: str) -> None:
    """`localhost` is allowed by its name or by its address."""
    check_literal("http://localhost:9000/x", (entry,), "x")


def test_the_query_is_not_in_the_refusal() -> None:
    """A refusal names the host, never the rest of the URL."""
    with pytest.raises(OrderError) as caught:
        check_literal("http://me:pass@127.0.0.1/x?X-Amz-Signature=abc", (), "x")
    assert not {"abc", "pass"} & set(str(caught.value.problem.as_dict()).replace("'", " ").split())
    assert "127.0.0.1" in caught.value.detail


@given(st.integers(0, 2**32 - 1))
def test_every_notation_of_an_address_is_judged_alike(number: int) -> None:
    """Whatever the address, its decimal and hexadecimal forms pass or fail as its dotted form
    does."""
    verdicts = set()
    for written in (
        str(ip_address(number)),
        str(number),
        hex(number),
        f"[::ffff:{ip_address(number)}]",
    ):
        try:
            check_literal(f"http://{written}/", (), "x")
            verdicts.add("passes")
        except OrderError:
            verdicts.add("refused")
    assert len(verdicts) == 1


@pytest.mark.parametrize("address", ["192.0.0.192", "192.0.0.9", "fec0::1", "::ffff:192.0.0.192"])
def test_what_some_pythons_call_global_is_not_public(address: str) -> None:
    """A cloud's metadata service among the protocol assignments, and the old site-local
    addresses."""
    assert not is_allowed("x", ip_address(address), 443, ())
