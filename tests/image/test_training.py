"""The image of the training jobs: both stages run with minimal privileges, and publish a model."""

from pathlib import Path

from tests.image.containers import IMAGE, RESTRICTED, skipped_without_image, tool
from tests.integration.server_process import REPOSITORY

RECORDING = REPOSITORY / "tests" / "data" / "cmu_05_15_cut.bvh"

pytestmark = skipped_without_image


def test_a_recording_becomes_a_model(tmp_path: Path):
    tmp_path.chmod(0o777)
    mounted = (f"--volume={tmp_path}:/work", f"--volume={RECORDING}:/recording.bvh:ro")

    def run(*command: str, code: int = 0) -> str:
        return tool("run", "--rm", *RESTRICTED, *mounted, IMAGE, *command, code=code)

    run(
        "poselift",
        "data",
        "bvh",
        "/recording.bvh",
        "--out",
        "data/smoke/cmu.npz",
        "--unit-m",
        "0.056444",
        "--skip",
        "1",
    )
    short = ("--override=steps=4", "--override=batch_size=4", "--override=accelerator=cpu")
    run("python", "-m", "poselift_training.pretrain", "smoke-pretrain", *short)
    run("python", "-m", "poselift_training.finetune", "smoke", *short, "--override=init_from=runs/smoke-pretrain")
    assert "smoke@1" in run("poselift", "models", "list", "--models", "runs/models")
    assert run("id", "-u") == "10001"
    run("python", "-c", "import fastapi", code=1)
