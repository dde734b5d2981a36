"""All attacks, in the order in which they are carried out."""

from collections.abc import Iterator
from functools import partial

from google.protobuf.message import Message

from poselift.pb import lifter_pb2 as pb
from tests.attacks.attack import Attack
from tests.attacks.kinds import counts, documents, grpc_calls, http, http2, sessions, websockets
from tests.attacks.target import JSON, PROTOBUF

_MIB = 1 << 20
# What sessions keep until they expire: the default of the setting session_ttl_s, and some time to notice it.
_SESSION_S = 130.0
_BODY_PATHS = ("/lift", "/complete", "/sessions/x/frames", "/sessions", "/admin/default", "/nothing")


def attacks() -> list[Attack]:
    """All attacks. Those after which a server rests for longer are spread among the others, so that nobody waits."""
    spread = [*_counts(), *_http(), *_connections(), *_documents(), *_websockets(), *_grpc(), *_http2(), *_keys()]
    kept = list(_sessions())
    apart = len(spread) // (len(kept) + 1) + 1
    for number, attack in enumerate(kept):
        spread.insert(number * apart, attack)
    return spread


def _sessions() -> Iterator[Attack]:
    yield Attack("sessions: opened", sessions.opened, kept_s=_SESSION_S)
    yield Attack("sessions: opened, gRPC", grpc_calls.sessions, kept_s=_SESSION_S)
    yield Attack("sessions: 256 nulls, hang up", partial(sessions.nulls_by_websocket, many=False), kept_s=_SESSION_S)
    yield Attack("sessions: 10000 nulls, hang up", partial(sessions.nulls_by_websocket, many=True), kept_s=_SESSION_S)
    yield Attack("sessions: nulls by POST, hang up", sessions.nulls_by_post, kept_s=_SESSION_S)
    yield Attack("sessions: empty frames, gRPC", grpc_calls.frames_of_nothing, kept_s=_SESSION_S)
    yield Attack("sessions: unknown", sessions.unknown)


def _counts() -> Iterator[Attack]:
    posted: list[tuple[str, type[Message]]] = [("/lift", pb.LiftRequest), ("/complete", pb.CompleteRequest)]
    for path, posted_kind in posted:
        for field in ("tracks", "targets", "timestamps_s"):
            yield Attack(f"counts: {path} {field}", partial(counts.over_http, path=path, kind=posted_kind, field=field))
    packed = partial(counts.over_http, path="/lift", kind=pb.LiftRequest, field="targets", build=counts.packed)
    yield Attack("counts: /lift targets, packed", packed)
    called: list[tuple[str, type[Message], str]] = [
        ("Lift", pb.LiftRequest, "tracks"),
        ("Lift", pb.LiftRequest, "targets"),
        ("Complete", pb.CompleteRequest, "tracks"),
        ("LiftStream", pb.LiftStreamRequest, "frames"),
        ("CreateSession", pb.CreateSessionRequest, "unknown"),
        ("ListModels", pb.ListModelsRequest, "unknown"),
    ]
    for method, kind, field in called:
        yield Attack(f"counts: gRPC {method} {field}", partial(counts.over_grpc, method=method, kind=kind, field=field))
    for field in ("frames", "unknown"):
        yield Attack(f"counts: WebSocket {field}", partial(counts.over_websocket, field=field))


def _http() -> Iterator[Attack]:
    for sent in http.PIPELINED:
        yield Attack(f"pipelining: {sent}", partial(http.pipelined, sent=sent, connections=1))
    yield Attack("pipelining: requests, 20 connections", partial(http.pipelined, sent="requests", connections=20))
    in_flight = partial(http.bodies_in_flight, sent_bytes=31 * _MIB)
    yield Attack("bodies in flight: 40 x 31 MB, /lift", partial(in_flight, paths=("/lift",), number=40))
    yield Attack("bodies in flight: 40 x 31 MB, all paths", partial(in_flight, paths=_BODY_PATHS, number=40))
    yield Attack(
        "bodies in flight: 40 x 31 MB, GET", partial(in_flight, paths=("/healthz", "/models"), number=40, method="GET")
    )
    small = partial(http.bodies_in_flight, paths=("/lift",), sent_bytes=_MIB)
    yield Attack("bodies in flight: 800 x 1 MB", partial(small, number=800))
    for name, body, media_type in (
        ("clips of 10000 frames, JSON", documents.clip(10_000), JSON),
        ("clips of 10000 frames, protobuf", grpc_calls.clip(10_000), PROTOBUF),
        ("poses of 10000 frames", documents.completion(10_000), JSON),
    ):
        yield Attack(
            f"whole bodies: {name}", partial(http.whole_bodies, body=body, connections=8, media_type=media_type)
        )
    yield Attack("dribble: headers", http.dribbled_headers)
    yield Attack("dribble: bodies", http.dribbled_bodies)
    yield Attack("dribble: chunks", http.dribbled_chunks)
    yield Attack("headers: 1 MB in a line", partial(http.large_headers, size=_MIB, lines=False))
    yield Attack("headers: 1 MB in many lines", partial(http.large_headers, size=_MIB, lines=True))
    yield Attack("headers: 15 KB in many lines", partial(http.large_headers, size=15_000, lines=True))
    yield Attack("encodings", http.encodings)
    yield Attack("names of other sites", http.foreign_names)
    yield Attack("origins of other sites", http.foreign_origins)


def _connections() -> Iterator[Attack]:
    yield Attack("unread: documentation", partial(http.unread, path="/openapi.json", connections=100))
    yield Attack("unread: poses", partial(http.unread_poses, connections=50, frames=300))
    yield Attack("connections: 1500 idle", partial(http.idle, connections=1500, begun=b""))
    yield Attack(
        "connections: 1500 headers begun", partial(http.idle, connections=1500, begun=b"GET /models HTTP/1.1\r\n")
    )
    yield Attack("connections: opened and closed", http.churn)
    yield Attack("connections: requests not waited for", partial(http.churn, begun=http.GET))
    half = partial(http.idle, connections=1000, begun=b"GET /metrics HTTP/1.1\r\n", metrics=True)
    yield Attack("metrics: 1000 requests begun", half)
    yield Attack(
        "metrics: opened and closed",
        partial(http.churn, begun=b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n", port="metrics_port"),
    )


def _documents() -> Iterator[Attack]:
    for path in ("/lift", "/complete", "/sessions", "/sessions/{session}/frames"):
        for size in (_MIB, 30 * _MIB) if path == "/lift" else (8 * _MIB,):
            yield Attack(f"JSON: {path} {size // _MIB} MB", partial(documents.posted, path=path, size=size))
    for name in ("infinite numbers", "many names", "escapes", "empty lists", "tracks", "space"):
        yield Attack(f"JSON: {name}, 30 MB", partial(documents.one_posted, name=name, size=30 * _MIB))


def _websockets() -> Iterator[Attack]:
    for sent in websockets.TINY:
        for known in (True, False) if sent in ("pings", "empty fragments") else (True,):
            which = "known" if known else "unknown"
            yield Attack(f"WebSocket: {sent}, {which}", partial(websockets.tiny_frames, sent=sent, known=known))
    yield Attack("WebSocket: pings, 50 streams", partial(websockets.tiny_frames, sent="pings", known=True, sockets=50))
    yield Attack("WebSocket: cut in 4 MB", partial(websockets.cut_messages, sent_bytes=4 * _MIB, fragments=False))
    yield Attack("WebSocket: cut in fragments", partial(websockets.cut_messages, sent_bytes=_MIB, fragments=True))
    unfinished = partial(websockets.unfinished_messages, sockets=40, sent_bytes=31 * _MIB)
    yield Attack("WebSocket: 40 x 31 MB in flight", unfinished)
    largest = partial(websockets.unfinished_messages, sockets=500, sent_bytes=2_000_000)
    yield Attack("WebSocket: 500 x 2 MB in flight", largest)
    yield Attack("WebSocket: handshakes", partial(websockets.handshakes, known=True))
    yield Attack("WebSocket: handshakes, unknown", partial(websockets.handshakes, known=False))
    foreign = partial(websockets.handshakes, known=True, headers=("origin: https://evil.example",))
    yield Attack("WebSocket: handshakes of other sites", foreign)
    for frames in (256, 10_000):
        for binary in (False, True):
            form = "protobuf" if binary else "JSON"
            run = partial(websockets.messages, frames=frames, binary=binary)
            yield Attack(f"WebSocket: messages of {frames} frames, {form}", run)
    yield Attack("WebSocket: answers unread", partial(websockets.messages, frames=256, binary=False, reads=False))
    yield Attack("WebSocket: forbidden frames", websockets.broken_frames)
    yield Attack("WebSocket: JSON, 2 MB", partial(websockets.texts, size=2_000_000))


def _grpc() -> Iterator[Attack]:
    yield Attack("gRPC: clips of 10000 frames", partial(grpc_calls.lifts, frames=10_000))
    yield Attack("gRPC: unknown methods", grpc_calls.unknown_methods)
    yield Attack("gRPC: large metadata", grpc_calls.large_metadata)
    yield Attack("gRPC: health checks", grpc_calls.health_checks)
    yield Attack("gRPC: 3000 health watches", partial(grpc_calls.health_watches, number=3000))
    yield Attack("gRPC: reflection", grpc_calls.reflections)
    yield Attack("gRPC: 2000 idle streams", partial(grpc_calls.idle_streams, number=2000))


def _http2() -> Iterator[Attack]:
    for sent in http2.FLOODS:
        yield Attack(f"HTTP/2: {sent}", partial(http2.floods, sent=sent))
    for method, calls, size in (
        ("Lift", 900, 60_000),
        ("Lift", 100, 3 * _MIB),
        ("LiftStream", 900, 60_000),
        ("LiftStream", 900, 3 * _MIB),
    ):
        name = f"gRPC: {calls} unfinished messages of {size / _MIB:.2g} MB, {method}"
        run = partial(
            http2.unfinished_messages, method=counts.SERVICE + method, connections=2, calls=calls // 2, sent_bytes=size
        )
        yield Attack(name, run)
    run = partial(
        http2.unfinished_messages,
        method=f"{grpc_calls.REFLECTION}ServerReflectionInfo",
        connections=2,
        calls=450,
        sent_bytes=3 * _MIB,
    )
    yield Attack("gRPC: 900 unfinished messages of 3 MB, reflection", run)
    yield Attack("HTTP/2: answers unread", partial(http2.unread_answers, connections=5))
    yield Attack("HTTP/2: messages said to be compressed", http2.compressed_messages)
    yield Attack("HTTP/2: 1500 connections", partial(http2.handshakes, connections=1500, begun=b""))
    yield Attack("HTTP/2: 1500 prefaces", partial(http2.handshakes, connections=1500, begun=http2.PREFACE))


def _keys() -> Iterator[Attack]:
    yield Attack("keys: guessed, HTTP", http.guessed_keys, needs_key=True)
    yield Attack("keys: guessed, gRPC", grpc_calls.guessed_keys, needs_key=True)
    in_flight = partial(http.bodies_in_flight, paths=_BODY_PATHS, number=40, sent_bytes=31 * _MIB)
    yield Attack("keys: none, 40 x 31 MB in flight", in_flight, needs_key=True)
    run = partial(
        http2.unfinished_messages, method=f"{counts.SERVICE}Lift", connections=2, calls=450, sent_bytes=60_000
    )
    yield Attack("keys: none, unfinished messages, gRPC", run, needs_key=True)
