"""The model that ships with the code: the version that its bare name means."""

from pathlib import Path

from poselift.artifacts.repository import look_up

NAME = "pstmo-tiny-27"
SHIPPED_MODEL = Path(look_up(Path(__file__).parents[1] / "models", NAME).location)
