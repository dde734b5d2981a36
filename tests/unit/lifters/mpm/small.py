"""Small configurations."""

from typing import Any

from poselift.lifters.mpm.network import MPMConfig


def small(**settings: Any) -> MPMConfig:
    return MPMConfig(9, channels=16, hidden=24, layers=2, **settings)
