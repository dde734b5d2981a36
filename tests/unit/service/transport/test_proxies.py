"""Whom a request comes from, behind proxies that are trusted and proxies that are not."""

import pytest
from poselift_service.transport.proxies import TrustedProxies

PROXIES = TrustedProxies(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("10.1.2.3", ["203.0.113.7"], "203.0.113.7"),
        ("10.1.2.3", [], "10.1.2.3"),
        ("10.1.2.3", [""], "10.1.2.3"),
        ("203.0.113.9", ["203.0.113.7"], "203.0.113.9"),
        ("10.1.2.3", ["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        ("10.1.2.3", ["198.51.100.1", "203.0.113.7"], "203.0.113.7"),
        ("10.1.2.3", ["203.0.113.7, 192.0.2.1", "10.9.9.9"], "203.0.113.7"),
        ("10.1.2.3", ["10.9.9.9"], "10.9.9.9"),
        ("10.1.2.3", ["203.0.113.7, unknown"], "10.1.2.3"),
        ("10.1.2.3", ["a:b:c:d"], "10.1.2.3"),
        ("10.1.2.3", ["203.0.113.7:5000"], "203.0.113.7"),
        ("10.1.2.3", ["[2001:db9::7]:5000"], "2001:db9::7"),
        ("2001:db8::1", ["2001:db9::7"], "2001:db9::7"),
        ("::ffff:10.1.2.3", ["203.0.113.7"], "203.0.113.7"),
        ("", ["203.0.113.7"], ""),
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxy(peer: str, forwarded_for: list[str], client: str):
    assert PROXIES.client_of(peer, forwarded_for) == client


def test_nobody_is_trusted_unless_named():
    assert TrustedProxies().client_of("127.0.0.1", ["203.0.113.7"]) == "127.0.0.1"


def test_a_name_is_no_address():
    with pytest.raises(ValueError, match="proxy"):
        TrustedProxies(["proxy.example"])
