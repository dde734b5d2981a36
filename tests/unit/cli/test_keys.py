"""`poselift keys`."""

from poselift_service.transport.keys import read_keys

from tests.unit.cli.running import run


def test_a_new_key_is_shown_once_with_the_line_to_store(tmp_path):
    shown = dict(line.split(": ") for line in run("keys", "new", "camera-1").output.splitlines())
    key, stored = shown["Key for camera-1, not to be seen again"], shown["Line for the file of keys"]
    (tmp_path / "keys").write_text(stored)
    assert read_keys(tmp_path / "keys").name_of(f"Bearer {key}") == "camera-1"
    assert "letters" in run("keys", "new", "two words", code=2).output
