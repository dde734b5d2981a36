"""Memory that a server has used for a while, and gives back."""

from pathlib import Path

import httpx

from poselift.artifacts.publish import publish
from poselift.lifters import systems
from tests.integration.conftest import MODEL, NETWORK, publish_random_models, small_draft
from tests.integration.floods import resident_mb
from tests.integration.server_process import ANSWER_S, eventually, running

LARGE = {**NETWORK, "channels": 512, "hidden": 1024, "layers": 4}
# A process that does not return what is free keeps 60 to 140 MB of the weights and their copies. How much one has when
# it has just started differs by as much as 27 MB.
MOST_LEFT_MB = 45


def test_unloaded_models_leave_nothing(tmp_path: Path):
    models = tmp_path / "models"
    models.mkdir()
    publish_random_models(models)
    publish(models, small_draft("large", LARGE, smoothed=True), systems.build("pstmo", LARGE))
    settings = {"default_model": f"{MODEL}@stable", "load": f"{MODEL}@stable", "admin": True}
    with running(models, tmp_path / "log", **settings) as server:
        before_mb = resident_mb(server)
        for method in 2 * ("PUT", "DELETE"):
            assert httpx.request(method, f"{server.address}/admin/models/large/1", timeout=ANSWER_S).is_success
        eventually(lambda: resident_mb(server) < before_mb + MOST_LEFT_MB or None, within_s=90)
