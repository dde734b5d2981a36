"""Who may import whom: read off the import statements, wherever in a file they stand."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
COMMAND = "poselift/__main__.py"

# In the service each library has one home.
HOMES = {
    "fastapi": {"rest.py", "rest_admin.py", "rest_sessions.py", "rest_stream.py"},
    "starlette": {"rest.py"},
    "grpc": {"rpc.py", "lifter_pb2_grpc.py"},
    "grpc_health": {"rpc.py"},
    "grpc_reflection": {"rpc.py"},
    "google": {"protobuf_form.py", "lifter_pb2.py"},
    "redis": {"redis_scripts.py"},
    "torch": {"torch_network.py", "cuda_network.py", "openvino_network.py"},
    "openvino": {"openvino_network.py"},
    "opentelemetry": {"traces.py"},
    "prometheus_client": {"metrics.py", "server.py"},
    "uvicorn": {"server.py", "http_connections.py", "websocket_end.py"},
}
SETTINGS_READERS = {"__main__.py", "server.py"}
# Downwards only: each of these knows the ones after it, and nothing calls back up.
LAYERS = (
    "server",
    "rest_admin",
    "rest_stream",
    "rest_sessions",
    "rest",
    "rpc_sessions",
    "rpc",
    "long_json",
    "live_json",
    "json_form",
    "protobuf_live",
    "protobuf_form",
    "live_stream",
    "live",
    "loading",
    "pipeline",
    "observed_store",
    "models",
    "sessions",
    "session_stores",
    "redis_scripts",
    "batcher",
    "engine",
    "candidates",
    "warm_up",
    "openvino_network",
    "cuda_network",
    "torch_network",
    "network",
)
# Who may know the messages of proto/lifter.proto.
PROTOBUF_READERS = {"rpc.py", "rpc_sessions.py", "protobuf_form.py", "protobuf_live.py", "lifter_pb2_grpc.py"}
LEAVES = ("connections", "errors", "json_joints", "keys", "metrics", "settings", "streams", "tls")


def sources(package: str) -> list[Path]:
    return sorted((REPOSITORY / package).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names):
                found |= {name.name for name in names}
            case ast.ImportFrom(module, names, level):
                assert level == 0, f"{path}: relative imports hide where a module comes from"
                found |= {str(module), *(f"{module}.{name.name}" for name in names)}
    return found


def packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def service_modules(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("service.")}


def label(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@pytest.mark.parametrize("path", sources("service"), ids=label)
def test_the_service_does_not_train(path):
    assert "training" not in packages(path)


@pytest.mark.parametrize("path", sources("training"), ids=label)
def test_training_does_not_serve(path):
    assert "service" not in packages(path)


@pytest.mark.parametrize("path", sources("poselift"), ids=label)
def test_the_core_knows_neither(path):
    if label(path) != COMMAND:
        assert not packages(path) & {"service", "training"}
        return
    slow = {"service", "training", "torch", "numpy", "pydantic"}
    at_the_top = ast.Module([node for node in ast.parse(path.read_text()).body if is_import(node)], type_ignores=[])
    assert not {name.partition(".")[0] for name in names_in(at_the_top)} & slow, (
        "import it in the command that needs it"
    )


def is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def names_in(module: ast.Module) -> set[str]:
    return {name.name for node in ast.walk(module) if isinstance(node, ast.Import) for name in node.names} | {
        str(node.module) for node in ast.walk(module) if isinstance(node, ast.ImportFrom)
    }


@pytest.mark.parametrize("path", sources("service"), ids=label)
def test_each_library_has_one_home_in_the_service(path):
    strangers = {library for library in packages(path) & HOMES.keys() if path.name not in HOMES[library]}
    assert not strangers


@pytest.mark.parametrize("path", [*sources("poselift"), *sources("service"), *sources("training")], ids=label)
def test_object_stores_are_reached_in_one_place(path):
    assert "fsspec" not in packages(path) or label(path) == "poselift/remote.py"


@pytest.mark.parametrize("path", [*sources("poselift"), *sources("service"), *sources("training")], ids=label)
def test_pictures_are_drawn_in_one_place(path):
    assert "matplotlib" not in packages(path) or label(path) == "training/pictures.py"


@pytest.mark.parametrize("path", sources("service"), ids=label)
def test_settings_are_read_at_the_top_only(path):
    if path.name not in SETTINGS_READERS:
        assert "settings" not in service_modules(path)
        assert "pydantic_settings" not in packages(path) or path.name == "settings.py"


@pytest.mark.parametrize("path", sources("service"), ids=label)
def test_the_service_calls_downwards(path):
    above = LAYERS[: LAYERS.index(path.stem)] if path.stem in LAYERS else ()
    assert not service_modules(path) & set(above)
    if path.stem in LEAVES:
        assert not service_modules(path) - {"errors"}


@pytest.mark.parametrize("path", sources("service"), ids=label)
def test_traces_are_imported_only_where_they_are_switched_on(path):
    at_the_top = ast.Module([node for node in ast.parse(path.read_text()).body if is_import(node)], type_ignores=[])
    assert "service.traces" not in names_in(at_the_top)


@pytest.mark.parametrize("path", sources("service"), ids=label)
def test_messages_stay_at_the_wire(path):
    if path.name not in PROTOBUF_READERS:
        assert "pb" not in service_modules(path)


@pytest.mark.parametrize(("one", "other"), [("rest", "rpc"), ("rpc", "rest")])
def test_transports_do_not_know_each_other(one, other):
    assert other not in service_modules(REPOSITORY / "service" / f"{one}.py")


def test_the_walk_sees_what_it_should(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("import a.b\nfrom c import d\ndef f():\n    from service.rest import g\n")
    assert imports(path) == {"a.b", "c", "c.d", "service.rest", "service.rest.g"}
    assert packages(path) == {"a", "c", "service"}
    assert service_modules(path) == {"rest"}
    assert len(sources("service")) > 3
