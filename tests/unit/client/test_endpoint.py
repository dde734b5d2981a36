"""Addresses of a server."""

import pytest

from poselift.client.endpoint import Endpoint


def test_a_prefix_comes_before_every_path():
    endpoint = Endpoint("https://example.org/pose/")
    assert endpoint.http_url("/lift") == "https://example.org/pose/lift"
    assert endpoint.websocket_url("/sessions/1/stream") == "wss://example.org/pose/sessions/1/stream"
    assert Endpoint("http://[::1]:8000").websocket_url("/x") == "ws://[::1]:8000/x"


@pytest.mark.parametrize("url", ["localhost:8000", "ws://localhost", "http://", "http://host/?a=1"])
def test_what_is_no_address_is_refused(url: str):
    with pytest.raises(ValueError, match="was expected"):
        Endpoint(url)


def test_a_grpc_address_is_host_and_port():
    with pytest.raises(ValueError, match="host:port"):
        Endpoint("http://localhost:8000", grpc="http://localhost:8001")


def test_the_key_is_not_printed():
    endpoint = Endpoint("http://localhost:8000", key="secret")
    assert "secret" not in repr(endpoint)
    assert endpoint.headers == {"authorization": "Bearer secret"}
