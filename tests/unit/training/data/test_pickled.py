import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from poselift_training.data.h36m import TEST_SUBJECTS, read_h36m

from poselift.errors import InvalidDataset
from tests.golden_files import GOLDEN

TINY = GOLDEN / "tiny_h36m"


def load(file: Path, key: str) -> Any:
    return np.load(file, allow_pickle=True)[key].item()


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("was-run"),)


def test_code_in_a_pickle_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "data_3d_h36m.npz", positions_3d=np.array({"S9": Evil()}, dtype=object))
    with pytest.raises(InvalidDataset, match="it asks for pathlib"):
        read_h36m(tmp_path, "gt", TEST_SUBJECTS)
    assert not Path("was-run").exists()


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04"])
def test_broken_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "data_3d_h36m.npz").write_bytes(content)
    with pytest.raises(InvalidDataset, match=r"data_3d_h36m\.npz"):
        read_h36m(tmp_path, "gt", TEST_SUBJECTS)


def test_entries_of_other_kinds_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "data_3d_h36m.npz"
    np.savez(file, positions_3d=np.zeros(3))
    with pytest.raises(InvalidDataset, match="array of float64"):
        read_h36m(tmp_path, "gt", TEST_SUBJECTS)
    np.savez(file, positions_3d=np.array([1, 2], dtype=object)[0])
    with pytest.raises(InvalidDataset, match="positions_3d"):
        read_h36m(tmp_path, "gt", TEST_SUBJECTS)
    np.savez(file, something=np.zeros(3))
    with pytest.raises(InvalidDataset, match="no entry 'positions_3d'"):
        read_h36m(tmp_path, "gt", TEST_SUBJECTS)


@pytest.mark.parametrize("protocol", range(5))
def test_every_pickle_protocol_is_read(protocol: int, tmp_path: Path) -> None:
    """Files of different age were written with different protocols; older ones name the modules of older NumPy."""
    for key, name in (("positions_3d", "data_3d_h36m.npz"), ("positions_2d", "data_2d_h36m_gt.npz")):
        header = (
            b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
        )
        content = pickle.dumps(np.array(load(TINY / name, key), dtype=object), protocol=protocol)
        if protocol <= 2:
            content = content.replace(b"numpy._core.multiarray\n", b"numpy.core.multiarray\n")
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(f"{key}.npy", header + content)
    people, expected = (read_h36m(root, "gt", TEST_SUBJECTS) for root in (tmp_path, TINY))
    torch.testing.assert_close(people.joints, expected.joints, rtol=0, atol=0)
