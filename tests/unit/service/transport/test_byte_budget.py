"""The budget of bytes: what does not fit is refused, and the default comes from the memory limit."""

from pathlib import Path

import pytest
from poselift_service.errors import Overloaded
from poselift_service.transport.byte_budget import ByteBudget, default_capacity

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


@pytest.mark.parametrize(("max_body_mebibytes", "capacity_mebibytes"), [(1, 8), (3, 12)])
def test_the_default_fits_the_memory_and_a_few_of_the_largest_bodies(
    tmp_path: Path, max_body_mebibytes: int, capacity_mebibytes: int
):
    limit = tmp_path / "sys" / "fs" / "cgroup" / "memory.max"
    limit.parent.mkdir(parents=True)
    limit.write_text(f"{64 * MEBIBYTE}")
    assert default_capacity(max_body_mebibytes * MEBIBYTE, root=tmp_path) == capacity_mebibytes * MEBIBYTE
