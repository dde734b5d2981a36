"""How the stages end: their last line, and one sentence for what went wrong."""

from pathlib import Path

import pytest
from lightning_fabric.utilities.rank_zero import rank_zero_only
from poselift_training.command import run

from poselift.errors import InvalidRecipe


@pytest.mark.parametrize(("rank", "printed"), [(0, "runs/one\n"), (1, "")])
def test_only_the_first_process_prints_the_result(
    rank: int, printed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", rank)
    assert run(lambda: "runs/one") == 0
    assert capsys.readouterr().out == printed


def test_failures_are_reported_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> str:
        raise InvalidRecipe("The recipe is odd.")

    def write() -> str:
        (tmp_path / "absent" / "file").write_text("")
        return ""

    assert run(refuse) == 2
    assert capsys.readouterr().err == "poselift: The recipe is odd.\n"
    assert run(write) == 2
    assert capsys.readouterr().err == f"poselift: {tmp_path}/absent/file: No such file or directory.\n"


def test_a_failure_that_names_no_file_keeps_its_traceback() -> None:
    def fail() -> str:
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        run(fail)


def test_ctrl_c_outside_of_training_is_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def stopped() -> str:
        raise KeyboardInterrupt

    assert run(stopped) == 130
    assert capsys.readouterr().err == "Stopped. The same command resumes from what has been saved.\n"
