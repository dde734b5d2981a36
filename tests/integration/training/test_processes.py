"""Two processes that share a batch."""

from pathlib import Path

import numpy as np
import torch

from tests.integration.training.runs import losses, start
from tests.integration.training.share_a_batch import share_a_batch


def test_two_processes_do_the_work_of_one(tmp_path: Path, mocap: Path) -> None:
    """A network without batch statistics and dropout, so that halves of a batch add up to the whole exactly."""
    script = Path(__file__).with_name("share_a_batch.py")
    launcher = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    with start(*launcher, str(script), str(tmp_path / "two"), str(mocap)) as process:
        _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    share_a_batch(tmp_path / "one")
    first, second, alone = (
        torch.load(tmp_path / name, weights_only=True) for name in ("two/rank0.pt", "two/rank1.pt", "one/rank0.pt")
    )
    for name, weights in first.items():
        assert torch.equal(weights, second[name]), name
        torch.testing.assert_close(weights, alone[name], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(losses(tmp_path / "two" / "smoke"), losses(tmp_path / "one" / "smoke"), rtol=1e-5)
    assert len(losses(tmp_path / "two" / "smoke-pretrain")) == 4  # a real stage, BatchNorm and all
