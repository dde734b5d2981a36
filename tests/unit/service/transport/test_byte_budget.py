"""The budget of bytes: what does not fit is refused, and the default comes from the memory limit."""

from pathlib import Path

import pytest
from poselift_service.errors import Overloaded
from poselift_service.transport.byte_budget import ByteBudget, default_capacity, memory_bytes

MEBIBYTE = 1 << 20


def test_what_does_not_fit_is_refused_and_changes_nothing():
    budget = ByteBudget(100)
    one, other = budget.hold(), budget.hold()
    one.grow(60)
    other.grow(30)
    with pytest.raises(Overloaded, match="setting max_bytes_in_flight"):
        other.grow(11)
    assert budget.used == 90
    other.grow(10)
    one.resize(5)
    assert budget.used == 45
    for hold in (one, other, one):
        hold.release()
    assert budget.used == 0


@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        ("0::/pod/container\n", {"pod/container/memory.max": "max", "pod/memory.max": f"{64 * MEBIBYTE}"}),
        ("0::/\n", {"memory.max": f"{64 * MEBIBYTE}\n"}),
        ("0::/../outside\n", {"memory.max": f"{64 * MEBIBYTE}"}),
        ("4:cpu,memory:/pod\n0::/\n", {"memory/pod/memory.limit_in_bytes": f"{64 * MEBIBYTE}"}),
        ("4:memory:/not-visible\n", {"memory/memory.limit_in_bytes": f"{64 * MEBIBYTE}"}),
        ("", {"memory.max": f"{64 * MEBIBYTE}"}),
    ],
)
def test_the_least_limit_of_the_cgroups_is_found(tmp_path: Path, cgroup: str, files: dict[str, str]):
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(cgroup)
    for name, text in files.items():
        file = tmp_path / "sys" / "fs" / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert memory_bytes(tmp_path) == 64 * MEBIBYTE
    assert default_capacity(MEBIBYTE, root=tmp_path) == 8 * MEBIBYTE
    assert default_capacity(3 * MEBIBYTE, root=tmp_path) == 12 * MEBIBYTE


def test_without_cgroups_the_memory_of_the_machine_counts(tmp_path: Path):
    assert memory_bytes(tmp_path) >= memory_bytes() > 64 * MEBIBYTE
