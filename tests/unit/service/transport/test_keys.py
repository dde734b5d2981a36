"""Keys: made once, stored as hashes, compared with all of them."""

import hmac
from pathlib import Path
from typing import Any

import pytest
from poselift_service.errors import Unauthenticated
from poselift_service.transport.keys import InvalidKeys, Keys, StoredKey, new_key, read_keys


def test_a_new_key_is_accepted_and_only_its_hash_is_stored(tmp_path: Path):
    (camera, stored), (gym, other) = new_key("camera-1"), new_key("gym")
    assert camera != gym
    assert len(camera) >= 43
    assert camera not in stored.line
    file = tmp_path / "keys"
    file.write_text(f"# who may ask\n\n{stored.line}\n{other.line}\n")
    keys = read_keys(file)
    assert keys.name_of(f"Bearer {camera}") == "camera-1"
    assert keys.name_of(f"bearer  {gym} ") == "gym"


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer x", "Basic {key}", "{key}", "Bearer {key}x", "Bearer {hash}"],
)
def test_other_authorizations_are_refused(authorization: str | None):
    key, stored = new_key("camera")
    given = authorization and authorization.format(key=key, hash=stored.sha256)
    with pytest.raises(Unauthenticated) as refusal:
        Keys([stored]).name_of(given)
    assert key not in refusal.value.message


@pytest.mark.parametrize("position", [0, 1, 2])
def test_every_stored_key_is_compared_whichever_is_given(monkeypatch: pytest.MonkeyPatch, position: int):
    made = [new_key(name) for name in ("a", "b", "c")]
    compared = []

    def compare(one: Any, other: Any) -> bool:
        compared.append(one)
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(
        "poselift_service.transport.keys.hmac", type("Recording", (), {"compare_digest": staticmethod(compare)})
    )
    assert Keys(stored for _, stored in made).name_of(f"Bearer {made[position][0]}") == "abc"[position]
    assert compared == [stored.sha256 for _, stored in made]


HASH = "0" * 64


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no key"),
        ("# nothing\n", "no key"),
        ("camera", "Line 1"),
        (f"camera:{HASH}\nposelift_secret\n", "Line 2"),
        (f"two words:{HASH}", "Line 1"),
        (f"camera:{HASH[:-1]}", "Line 1"),
        (f"camera:{HASH.replace('0', 'G')}", "Line 1"),
        (f":{HASH}", "Line 1"),
        (f"camera:{HASH}\ncamera:{'1' * 64}", "Line 2"),
    ],
)
def test_an_invalid_file_is_refused_without_quoting_it(tmp_path: Path, content: str, says: str):
    file = tmp_path / "keys"
    file.write_text(content)
    with pytest.raises(InvalidKeys, match=says) as refusal:
        read_keys(file)
    assert "poselift_secret" not in str(refusal.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(InvalidKeys, match=f"{tmp_path / 'nothing'}"):
        read_keys(tmp_path / "nothing")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidKeys, match="not text"):
        read_keys(tmp_path / "binary")


@pytest.mark.parametrize("name", ["", "two words", "a:b", "x" * 65, "line\nbreak"])
def test_a_name_must_fit_into_a_line(name: str):
    with pytest.raises(InvalidKeys):
        new_key(name)


def test_a_stored_key_is_written_as_it_is_read(tmp_path: Path):
    assert StoredKey("a", HASH).line == f"a:{HASH}"
