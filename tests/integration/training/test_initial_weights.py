"""The weights that stage II starts from."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from poselift_training import pretrain
from poselift_training.finetune import load_initial_weights
from poselift_training.loop.checkpoint import read_checkpoint
from poselift_training.recipe import load_recipe

from poselift.errors import InvalidRecipe
from poselift.lifters.mpm.network import MPM, MPMConfig
from poselift.lifters.pstmo.network import STMO
from tests.integration.training.runs import smoke_network


def test_finetuning_starts_from_the_pretrained_encoder(options: Callable[..., list[str]], tmp_path: Path) -> None:
    assert pretrain.main(["smoke-pretrain", *options()]) == 0
    run = tmp_path / "runs" / "smoke-pretrain"
    learnt = read_checkpoint(run)["objective"]
    lifter = STMO(smoke_network())
    before = {name: tensor.clone() for name, tensor in lifter.state_dict().items()}
    load_initial_weights(lifter, run)
    for name, tensor in lifter.state_dict().items():
        expected = learnt[f"model.{name}"] if name.startswith(("embedding.", "temporal.")) else before[name]
        assert torch.equal(tensor, expected), name


def test_initial_weights_of_other_sizes_are_refused(options: Callable[..., list[str]], tmp_path: Path) -> None:
    assert pretrain.main(["smoke-pretrain", *options()]) == 0
    wider = smoke_network("network.channels=64")
    with pytest.raises(InvalidRecipe, match="does not fit"):
        load_initial_weights(STMO(wider), tmp_path / "runs" / "smoke-pretrain")
    with pytest.raises(InvalidRecipe, match="no run folder"):
        load_initial_weights(STMO(wider), tmp_path)


def test_stage_one_weights_of_mpm_initialise_its_lifter(options: Callable[..., list[str]], tmp_path: Path) -> None:
    assert pretrain.main(["smoke-pretrain", *options("system=mpm")]) == 0
    run = tmp_path / "runs" / "smoke-pretrain"
    learnt = read_checkpoint(run)["objective"]
    network = load_recipe(Path("smoke"), ["system=mpm"]).network
    assert isinstance(network, MPMConfig)
    lifter = MPM(network)
    load_initial_weights(lifter, run)
    state = lifter.state_dict()
    assert torch.equal(state["embedding.encoder.widen.weight"], learnt["model.encoder.widen.weight"])
    assert torch.equal(state["temporal.position"], learnt["model.temporal.position"])
    assert torch.equal(state["embedding.mask_token"], learnt["model.keypoint_token"])
