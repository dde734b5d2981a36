"""The optimisers of a run."""

from typing import cast

import torch
from torch import nn

from poselift_training.optimiser_config import OptimiserConfig


def make_optimisers(config: OptimiserConfig, module: nn.Module, channels: int) -> list[torch.optim.Optimizer]:
    """The optimiser of all parameters; with `muon`, that of its matrices and AdamW for the other parameters.

    Args:
        channels: width of the network's tokens.
    """
    parameters, matrices = list(module.parameters()), []
    if config.kind == "muon":
        matrices = inner_matrices(module, channels)
        parameters = [parameter for parameter in parameters if all(parameter is not matrix for matrix in matrices)]
    kind: type[torch.optim.Adam] = torch.optim.Adam if config.kind == "adam" else torch.optim.AdamW
    adam = kind(
        parameters,
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        amsgrad=config.amsgrad,
        fused=True,
    )
    if not matrices:
        return [adam]
    # Its steps are then as large as AdamW's, so that one learning rate fits both.
    muon = torch.optim.Muon(
        matrices, lr=config.learning_rate, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return [adam, muon]


def inner_matrices(module: nn.Module, channels: int) -> list[nn.Parameter]:
    """The weights of products that are as wide as a token on both sides.

    In networks wider than their coordinates, these are all but those that read coordinates or write poses.
    """
    products = (part for part in module.modules() if isinstance(part, nn.Linear))
    return [cast(nn.Parameter, product.weight) for product in products if min(product.weight.shape) >= channels]
