"""The golden vectors: what the official code computes, stored beside the tests (see `golden/README.md`)."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> dict[str, Tensor]:
    """All tensors of one file; the weights, stored as float16, widened to float32."""
    tensors = load_file(GOLDEN / f"{name}.safetensors")
    return {key: value.float() if value.dtype == torch.float16 else value for key, value in tensors.items()}


def golden_json(name: str) -> Any:
    """The configuration and expected numbers beside the tensors."""
    return json.loads((GOLDEN / f"{name}.json").read_text())
