"""`poselift evaluate`."""

import pytest

from tests.unit.cli.running import run


@pytest.mark.parametrize("device", ["foo", "cuda:99", "meta"])
def test_scoring_on_a_missing_device(models, tmp_path, device):
    options = ["--model", "untrained-9", "--models", models, "--data", "mocap", "--root", tmp_path]
    said = run("evaluate", *options, "--device", device, code=2).stderr
    assert (
        said == f"poselift: There is no device '{device}' on this machine; leave --device out to use what there is.\n"
    )
