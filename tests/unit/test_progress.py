"""Progress of long work where there is no terminal."""

from poselift import progress
from poselift.progress import long_work


def test_lines_take_the_place_of_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0)
    with long_work(200, "walk.npz", "frames") as advance:
        advance(50.2)
        advance(100)
    assert capsys.readouterr().err == "walk.npz: 50 of 200 frames\nwalk.npz: 150 of 200 frames\n"


def test_short_work_says_nothing(capsys):
    with long_work(200, "walk.npz", "frames") as advance:
        advance(200)
    assert capsys.readouterr().err == ""
