"""Web sites in a browser on the machine of the server: reached by name or by WebSocket only where they may be."""

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from poselift_service.transport.keys import new_key
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_websocket

from poselift.pb import lifter_pb2 as pb
from tests.integration.conftest import MODEL
from tests.integration.redis_process import free_port
from tests.integration.server_process import ANSWER_S, ServerProcess, running
from tests.integration.transports import PROTOBUF

SITE, OTHER_SITE = "https://example.org", "https://evil.example"
OPENING = {"skeleton": "coco17", "image_size": [1920, 1080], "fps": 30, "lookahead": 0}
END = '{"end": true}'


@pytest.fixture(scope="module")
def metrics_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def local(models: Path, tmp_path_factory: pytest.TempPathFactory, metrics_port: int) -> Iterator[ServerProcess]:
    """A server as a developer starts it, whose administration needs no key."""
    log = tmp_path_factory.mktemp("local") / "log"
    with running(models, log, default_model=f"{MODEL}@stable", admin=True, metrics_port=metrics_port) as server:
        yield server


@pytest.fixture(scope="module")
def key() -> tuple[str, str]:
    """A key, and its line in the file of keys."""
    key, stored = new_key("page")
    return key, stored.line


@pytest.fixture(scope="module")
def public(models: Path, tmp_path_factory: pytest.TempPathFactory, key: tuple[str, str]) -> Iterator[ServerProcess]:
    """A server with keys, for the pages of one site."""
    folder = tmp_path_factory.mktemp("public")
    (folder / "keys").write_text(key[1])
    settings = {"api_keys_file": folder / "keys", "cors_origins": SITE, "allowed_hosts": "poses.example.org"}
    with running(models, folder / "log", default_model=f"{MODEL}@stable", **settings) as server:
        yield server


def ask(server: ServerProcess, method: str, path: str, host: str | None) -> bytes:
    port = int(server.address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), ANSWER_S) as connection:
        header = "" if host is None else f"host: {host}\r\n"
        connection.sendall(f"{method} {path} HTTP/1.1\r\n{header}connection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(10_000), b""))


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.", "[::2]"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", f"/admin/models/{MODEL}/2"), ("GET", "/models"), ("POST", "/sessions"), ("GET", "/docs")],
)
def test_a_local_server_is_not_reached_by_another_name(local: ServerProcess, method: str, path: str, host: str):
    answer = ask(local, method, path, host)
    if host == "localhost.":
        assert b'"forbidden"' not in answer
    else:
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"allowed_hosts" in answer


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", None])
def test_a_local_server_is_reached_by_its_own_names(local: ServerProcess, host: str | None):
    assert ask(local, "GET", "/models", host).startswith(b"HTTP/1.1 200 ")


def test_probes_and_two_names(local: ServerProcess):
    assert ask(local, "GET", "/healthz", "10.0.0.7").startswith(b"HTTP/1.1 200 ")
    assert ask(local, "GET", "/models", "localhost\r\nhost: evil.example").startswith(
        (b"HTTP/1.1 403 ", b"HTTP/1.1 400 ")
    )


def test_the_metrics_of_a_local_server_have_its_names(local: ServerProcess, metrics_port: int):
    address = f"http://127.0.0.1:{metrics_port}/metrics"
    assert httpx.get(address).status_code == 200
    assert httpx.get(address, headers={"host": "evil.example"}).status_code == 403


def connect(address: str, origin: str | None = None, protocols: Sequence[str] | None = None) -> ClientConnection:
    given: dict[str, Any] = {"origin": origin, "subprotocols": protocols}
    return connect_websocket(address, **given)


def stream_address(server: ServerProcess, **headers: str) -> str:
    session_id = httpx.post(f"{server.address}/sessions", json=OPENING, headers=headers).json()["session_id"]
    return f"{server.address.replace('http', 'ws')}/sessions/{session_id}/stream"


def test_other_sites_cannot_open_websockets(local: ServerProcess):
    address = stream_address(local)
    for origin in (OTHER_SITE, "null", "http://localhost:1", f"{local.address}.evil.example"):
        with pytest.raises(InvalidStatus) as refused:
            connect(address, origin=origin)
        assert refused.value.response.status_code == 403
        assert b"cors_origins" in refused.value.response.body
    for own_origin in (None, local.address):
        with connect(address, origin=own_origin) as websocket:
            websocket.send('{"frame_index": 0, "keypoints": [null]}')
            assert '"next_frame_index":1' in websocket.recv(ANSWER_S)


def test_a_page_opens_a_websocket_with_its_key(public: ServerProcess, key: tuple[str, str]):
    address = stream_address(public, authorization=f"Bearer {key[0]}")
    for protocols in (None, ["poselift"], ["poselift", "bearer.wrong"], ["poselift", f"bearer.{key[0]}x"]):
        with pytest.raises(InvalidStatus) as refused:
            connect(address, origin=SITE, protocols=protocols)
        assert refused.value.response.status_code == 401
    with pytest.raises(InvalidStatus) as refused:
        connect(address, origin=OTHER_SITE, protocols=["poselift", f"bearer.{key[0]}"])
    assert refused.value.response.status_code == 403
    with connect(address, origin=SITE, protocols=["poselift", f"bearer.{key[0]}"]) as websocket:
        assert websocket.subprotocol == "poselift"
        websocket.send(END)
        assert '"frames":[]' in websocket.recv(ANSWER_S)
    assert key[0] not in public.log.read_text()


def test_an_allowed_name_is_one_more(public: ServerProcess):
    for host, status in (("poses.example.org", b"401"), ("127.0.0.1", b"401"), ("evil.example", b"403")):
        assert ask(public, "GET", "/models", host).startswith(b"HTTP/1.1 " + status)


def test_administration_without_a_key_is_not_for_other_sites(models: Path, failed_start: Callable[..., str]):
    message = failed_start(models, admin=True, cors_origins="*")
    assert "admin_key" in message
    assert "cors_origins" in message


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/models", "/skeletons", f"/models/{MODEL}", "/openapi.json"])
def test_head_is_answered_as_get(local: ServerProcess, path: str):
    with httpx.Client(base_url=local.address) as client:
        head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


def test_every_content_encoding_is_read(local: ServerProcess):
    for headers, status in (
        ([("content-encoding", "gzip"), ("content-encoding", "br")], 415),
        ([("content-encoding", "gzip, gzip")], 415),
        ([("content-encoding", "Identity")], 422),
    ):
        answer = httpx.post(
            f"{local.address}/lift", content=b"{}", headers=[("content-type", "application/json"), *headers]
        )
        assert answer.status_code == status


def test_errors_quote_only_a_part_of_a_request(local: ServerProcess):
    name = "x" * 800_000  # a longer one is refused for its length
    clip = {"keypoints": [[None] * 17], "skeleton": "coco17", "image_size": [1, 1], "fps": 30}
    bodies: list[dict[str, Any]] = [
        {**clip, "skeleton": name},
        {**clip, "model": name},
        {name: 1},
        {**clip, "keypoints": {name: 1}},
    ]
    answers = [httpx.post(f"{local.address}/lift", json=body, timeout=ANSWER_S) for body in bodies]
    size = pb.ImageSize(width_px=1, height_px=1)
    message = pb.LiftRequest(keypoints=[1] * 51, skeleton=8 * name, image_size=size, fps=30).SerializeToString()
    answers.append(httpx.post(f"{local.address}/lift", content=message, headers={"content-type": PROTOBUF}))
    for answer in answers:
        assert answer.status_code in (404, 422)
        assert len(answer.content) < 5000


@pytest.fixture
def hangups_are_noticed() -> Iterator[None]:
    """The usual handling of SIGHUP, which a server inherits; a run of the tests under nohup ignores it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangups_are_noticed")
def test_a_hangup_drains(models: Path, tmp_path: Path):
    with running(models, tmp_path / "log", default_model=f"{MODEL}@stable") as server:
        with connect(stream_address(server)) as websocket:
            websocket.send('{"frame_index": 0, "keypoints": [null]}')
            websocket.recv(ANSWER_S)
            server.process.send_signal(signal.SIGHUP)
            assert "not_ready" in websocket.recv(ANSWER_S)
            with contextlib.suppress(ConnectionClosed):
                websocket.recv(ANSWER_S)
        assert server.process.wait(ANSWER_S) == 0
