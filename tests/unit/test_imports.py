"""Who may import whom: read off the import statements, wherever in a file they stand."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Package:
    """A package, and its rooms (folders, and files at its root) from the top floor down.

    A room imports from itself and from floors below its own: nothing calls back up, and neighbours do not know each
    other.
    """

    name: str
    folder: Path
    floors: tuple[str, ...]

    @cached_property
    def modules(self) -> dict[str, Path]:
        found = {}
        for path in sorted(self.folder.rglob("*.py")):
            parts = path.relative_to(self.folder.parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        return found

    def floor(self, module: str) -> int:
        room = self.room(module)
        return next(height for height, rooms in enumerate(reversed(self.floors)) if room in rooms.split())

    def room(self, module: str) -> str:
        return module.split(".")[1] if "." in module else "__init__"


PACKAGES = (
    Package(
        "poselift",
        REPOSITORY / "poselift",
        (
            "__main__",
            "cli client",
            "formats",
            "averaged_window block_window",
            "timed_window",
            "completion live_window motion networks plausibility",
            "lifting",
            "__init__",
            "artifacts",
            "lifters",
            "overlapping_windows",
            "coordinates live_samples undistort windows",
            "sequence",
            "camera_fields person_choice skeletons tracking",
            "known upright",
            "camera input_warnings",
            "errors missing progress validation",
            "pb",
        ),
    ),
    Package(
        "poselift_service",
        REPOSITORY / "service" / "poselift_service",
        (
            "__main__",
            "server",
            "assembly",
            "http grpc",
            "codecs transport",
            "pipeline",
            "sessions inference",
            "telemetry settings",
            "errors web",
            "__init__",
        ),
    ),
    Package(
        "poselift_training",
        REPOSITORY / "training" / "poselift_training",
        (
            "finetune",
            "cards pretrain",
            "command recipe_data",
            "loop evaluation lifting_objective",
            "recipe",
            "data optimiser_config",
            "recipe_values",
            "__init__",
        ),
    ),
)
CORE, SERVICE, TRAINING = PACKAGES

# Each library has one home, or those named; what is not named may be imported anywhere.
LIBRARY_HOMES = {
    "ezc3d": ("poselift.formats",),
    "fastapi": ("poselift_service.http",),
    "fsspec": ("poselift.artifacts.object_store",),
    "google.protobuf": ("poselift.pb", "poselift_service.codecs.protobuf", "poselift_service.grpc.public"),
    "grpc": ("poselift.pb", "poselift.client.grpc_connection", "poselift_service.grpc"),
    "grpc_health": ("poselift_service.grpc",),
    "grpc_reflection": ("poselift_service.grpc",),
    "h5py": ("poselift.formats.readers.tables.hdf5",),
    "httpx": ("poselift.client.http_calls",),
    "lightning_fabric": ("poselift_training.loop",),
    "matplotlib": ("poselift_training.cards.figures",),
    "openvino": ("poselift.networks",),
    "opentelemetry": ("poselift_service.telemetry.traces",),
    "prometheus_client": ("poselift_service.telemetry",),
    "pyarrow": ("poselift.formats",),
    "pygltflib": ("poselift.formats",),
    "pydantic_settings": ("poselift_service.settings",),
    "pythonosc": ("poselift.client.vmc",),
    "redis": ("poselift_service.sessions",),
    "rich": ("poselift.progress", "poselift_training"),
    "simdjson": ("poselift_service.codecs.json",),
    "starlette": ("poselift_service.http",),
    "torch": ("poselift", "poselift_training"),
    "typer": ("poselift.cli",),
    "uvicorn": ("poselift_service.http",),
    "websockets": ("poselift.client.websocket_connection", "poselift_service.http"),
}
# The generated messages of proto/lifter.proto stay at the wire.
MESSAGE_READERS = (
    "poselift.pb",
    "poselift.client.grpc_connection",
    "poselift_service.codecs.protobuf",
    "poselift_service.grpc",
)
# What a program that only calls a service has installed, beside the standard library.
CLIENT_LIBRARIES = ("poselift.client", "poselift.pb", "grpc", "httpx", "pythonosc", "websockets")
SETTINGS_READERS = ("poselift_service.__main__", "poselift_service.assembly", "poselift_service.server")
MODULES = {module: path for package in PACKAGES for module, path in package.modules.items()}


@cache
def imports(path: Path) -> set[str]:
    """Full names of what a file imports: modules, and names out of modules."""
    return set(names_in(ast.walk(ast.parse(path.read_text(encoding="utf-8")))))


@cache
def imports_at_the_top(path: Path) -> set[str]:
    """Those of its statements that run when the file is imported."""
    return set(names_in(iter(ast.parse(path.read_text(encoding="utf-8")).body)))


def names_in(nodes: Iterator[ast.AST]) -> Iterator[str]:
    for node in nodes:
        match node:
            case ast.Import(names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module, names, level):
                assert level == 0, "relative imports hide where a module comes from"
                yield str(module)
                yield from (f"{module}.{name.name}" for name in names)


def is_in(name: str, *homes: str) -> bool:
    return any(name == home or name.startswith(f"{home}.") for home in homes)


def own_modules(module: str, package: Package) -> set[str]:
    """The modules of a package that one of them imports."""
    return {name for name in imports(MODULES[module]) if name in package.modules} - {module}


def modules_of(package: Package) -> list[tuple[Package, str]]:
    return [(package, module) for module in package.modules]


@pytest.mark.parametrize("module", [name for name in MODULES if not is_in(name, "poselift")])
def test_service_and_training_do_not_know_each_other(module):
    other = "poselift_training" if is_in(module, "poselift_service") else "poselift_service"
    assert not {name for name in imports(MODULES[module]) if is_in(name, other)}


@pytest.mark.parametrize("module", CORE.modules)
def test_the_core_knows_neither_but_for_the_command(module):
    if not is_in(module, "poselift.cli"):
        others = ("poselift_service", "poselift_training")
        assert not {name for name in imports(MODULES[module]) if is_in(name, *others)}


@pytest.mark.parametrize("module", [name for name in CORE.modules if is_in(name, "poselift.cli", "poselift.__main__")])
def test_the_command_starts_without_slow_imports(module):
    slow = ("poselift_service", "poselift_training", "torch", "numpy", "pydantic")
    assert not {name for name in imports_at_the_top(MODULES[module]) if is_in(name, *slow)}, (
        "import it in the command that needs it"
    )


def test_files_are_read_without_torch():
    """The server reads each file in a process of its own, which is to start in a moment."""
    read = "import sys, poselift.formats.readers.keypoint_file; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", read], cwd=REPOSITORY, check=False).returncode == 0


@pytest.mark.parametrize(("package", "module"), [pair for package in PACKAGES for pair in modules_of(package)])
def test_imports_go_downwards(package, module):
    floor, room = package.floor(module), package.room(module)
    upward = {
        name
        for name in own_modules(module, package)
        if package.room(name) not in (room, "__init__") and package.floor(name) >= floor
    }
    assert not upward


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_imports_make_no_circle(package):
    # A folder's own __init__ comes with every import from the folder.
    graph = {module: own_modules(module, package) for module in package.modules}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_every_room_has_a_floor_and_every_floor_a_room(package):
    rooms = {package.room(module) for module in package.modules}
    assert rooms == {room for floor in package.floors for room in floor.split()}


@pytest.mark.parametrize("module", MODULES)
def test_each_library_has_one_home(module):
    strangers = {
        library
        for library, homes in LIBRARY_HOMES.items()
        if not is_in(module, *homes) and any(is_in(name, library) for name in imports(MODULES[module]))
    }
    assert not strangers


@pytest.mark.parametrize("module", [name for name in CORE.modules if is_in(name, "poselift.client")])
def test_the_client_needs_nothing_but_its_libraries(module):
    strangers = {name for name in imports(MODULES[module]) if not is_in(name, *CLIENT_LIBRARIES)}
    assert {name.partition(".")[0] for name in strangers} <= sys.stdlib_module_names


@pytest.mark.parametrize("module", SERVICE.modules)
def test_settings_are_read_at_the_top_only(module):
    if module not in SETTINGS_READERS:
        assert "poselift_service.settings" not in imports(MODULES[module])


@pytest.mark.parametrize("module", SERVICE.modules)
def test_traces_are_imported_only_where_they_are_switched_on(module):
    assert "poselift_service.telemetry.traces" not in imports_at_the_top(MODULES[module])


@pytest.mark.parametrize("module", MODULES)
def test_messages_stay_at_the_wire(module):
    if not is_in(module, *MESSAGE_READERS):
        assert not {name for name in imports(MODULES[module]) if is_in(name, "poselift.pb")}


def test_the_walk_sees_what_it_should(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("import a.b\nfrom c import d\ndef f():\n    from poselift_service.http.app import g\n")
    assert imports(path) == {"a.b", "c", "c.d", "poselift_service.http.app", "poselift_service.http.app.g"}
    assert imports_at_the_top(path) == {"a.b", "c", "c.d"}
    assert is_in("a.b", "a")
    assert not is_in("ab", "a")
    assert len(SERVICE.modules) > 30
    assert SERVICE.floor("poselift_service.http.app") > SERVICE.floor("poselift_service.pipeline.lift")
