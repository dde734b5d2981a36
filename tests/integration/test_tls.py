"""TLS on both ports, with certificates of an authority made for the tests."""

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from websockets.sync.client import connect

from poselift.pb import lifter_pb2 as pb
from poselift.pb.lifter_pb2_grpc import LiftingServiceStub
from tests.integration.redis_process import free_port
from tests.integration.server_process import ANSWER_S, running

OPENING = {"skeleton": "coco17", "image_size": [1920, 1080], "fps": 30, "lookahead": 0}
AUTHORITY, OTHER_AUTHORITY = trustme.CA(), trustme.CA()


@dataclass(frozen=True)
class Ports:
    """The addresses of a server: the one begins with https://, the other is host:port."""

    http: str
    grpc: str


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A certificate, its key, its authority's certificate, and the key of another certificate."""
    folder = tmp_path_factory.mktemp("certificates")
    own, other = AUTHORITY.issue_cert("127.0.0.1"), AUTHORITY.issue_cert("127.0.0.1")
    paths = {
        "tls_certificate": folder / "certificate.pem",
        "tls_key": folder / "key.pem",
        "other": folder / "other.pem",
    }
    for chain in own.cert_chain_pems:
        chain.write_to_path(paths["tls_certificate"], append=True)
    own.private_key_pem.write_to_path(paths["tls_key"])
    other.private_key_pem.write_to_path(paths["other"])
    AUTHORITY.cert_pem.write_to_path(folder / "ca.pem")
    return {**paths, "tls_client_ca": folder / "ca.pem"}


@contextlib.contextmanager
def serving(models: Path, files: dict[str, Path], folder: Path, *names: str) -> Iterator[Ports]:
    port = free_port()
    with running(models, folder / "log", grpc_port=port, **{name: files[name] for name in names}) as server:
        yield Ports(server.address, f"127.0.0.1:{port}")


def trusting(authority: trustme.CA, client: trustme.LeafCert | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if client is not None:
        client.configure_cert(context)
    return context


def responds_over_http(ports: Ports, context: ssl.SSLContext) -> bool:
    """Whether the server responds."""
    try:
        return httpx.get(f"{ports.http}/models", verify=context, timeout=ANSWER_S).status_code == 200
    except httpx.TransportError:
        return False


def responds_over_grpc(ports: Ports, authority: trustme.CA | None, client: trustme.LeafCert | None = None) -> bool:
    """Whether the server responds; without an authority, over a channel without TLS."""
    own = {} if client is None else {
        "private_key": client.private_key_pem.bytes(), "certificate_chain": client.cert_chain_pems[0].bytes()
    }  # fmt: skip
    with contextlib.ExitStack() as opened:
        if authority is None:
            channel = opened.enter_context(grpc.insecure_channel(ports.grpc))
        else:
            credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes(), **own)
            channel = opened.enter_context(grpc.secure_channel(ports.grpc, credentials))
        stub: Any = LiftingServiceStub(channel)
        try:
            return bool(stub.ListModels(pb.ListModelsRequest(), timeout=ANSWER_S).models)
        except grpc.RpcError as error:
            call: Any = error
            assert call.code() is grpc.StatusCode.UNAVAILABLE
            return False


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_both_ports_speak_tls_and_nothing_else(models: Path, files: dict[str, Path], tmp_path: Path):
    with serving(models, files, tmp_path, "tls_certificate", "tls_key") as ports:
        assert ports.http.startswith("https://")
        assert responds_over_http(ports, trusting(AUTHORITY))
        assert responds_over_grpc(ports, AUTHORITY)
        assert not responds_over_http(ports, trusting(OTHER_AUTHORITY))
        assert not responds_over_grpc(ports, OTHER_AUTHORITY)
        with pytest.raises(httpx.TransportError):
            httpx.get(ports.http.replace("https", "http"), timeout=ANSWER_S)
        assert not responds_over_grpc(ports, None)
        session = httpx.post(
            f"{ports.http}/sessions", json=OPENING, verify=trusting(AUTHORITY), timeout=ANSWER_S
        ).json()
        stream = f"{ports.http.replace('http', 'ws', 1)}/sessions/{session['session_id']}/stream"
        with connect(stream, ssl=trusting(AUTHORITY), open_timeout=ANSWER_S) as websocket:
            websocket.send('{"end": true}')
            assert '"frames":[]' in str(websocket.recv(ANSWER_S))
        for address in (ports.http.removeprefix("https://"), ports.grpc):
            assert speaks(address, ssl.TLSVersion.TLSv1_2)
            assert not speaks(address, ssl.TLSVersion.TLSv1_1)


def speaks(address: str, version: ssl.TLSVersion) -> bool:
    """Whether a connection with exactly this version can be opened."""
    context = trusting(AUTHORITY)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # otherwise the client would refuse old versions
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    host, _, port = address.rpartition(":")
    try:
        with (
            socket.create_connection((host, int(port)), ANSWER_S) as connection,
            context.wrap_socket(connection, server_hostname=host),
        ):
            return True
    except (ssl.SSLError, ConnectionError):
        return False


def test_clients_need_a_certificate_with_a_client_ca(models: Path, files: dict[str, Path], tmp_path: Path):
    known, unknown = AUTHORITY.issue_cert("client"), OTHER_AUTHORITY.issue_cert("client")
    with serving(models, files, tmp_path, "tls_certificate", "tls_key", "tls_client_ca") as ports:
        assert responds_over_http(ports, trusting(AUTHORITY, known))
        assert responds_over_grpc(ports, AUTHORITY, known)
        for client in (None, unknown):
            assert not responds_over_http(ports, trusting(AUTHORITY, client))
            assert not responds_over_grpc(ports, AUTHORITY, client)


def test_files_that_cannot_be_used_are_reported_in_a_sentence(
    models: Path, files: dict[str, Path], tmp_path: Path, failed_start: Callable[..., str]
):
    good = {"tls_certificate": files["tls_certificate"], "tls_key": files["tls_key"]}
    noise = tmp_path / "noise.pem"
    noise.write_text("secret noise")
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        load_pem_private_key(files["tls_key"].read_bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
        )
    )
    for changed, names in (
        ({"tls_key": files["other"]}, ("other.pem", "certificate.pem", "is not that of")),
        ({"tls_key": tmp_path / "nothing"}, ("nothing", "cannot be read")),
        ({"tls_certificate": noise}, ("noise.pem",)),
        ({"tls_key": noise}, ("noise.pem",)),
        ({"tls_key": locked}, ("locked.pem", "unencrypted")),
        ({"tls_client_ca": noise}, ("noise.pem",)),
        ({"tls_client_ca": tmp_path / "nothing"}, ("nothing", "cannot be read")),
        ({"tls_key": None}, ("tls_certificate", "tls_key")),
        ({"tls_certificate": None, "tls_key": None, "tls_client_ca": files["tls_client_ca"]}, ("tls_client_ca",)),
    ):
        message = failed_start(models, **{**good, **changed})
        assert all(name in message for name in names), message
        assert "secret" not in message
