"""References and labels in a folder."""

import pytest

from poselift.artifacts.publish import publish
from poselift.artifacts.repository import list_artifacts, look_up, set_label
from poselift.errors import InvalidArtifact


def test_references(tmp_path, draft, lifter):
    for _ in range(3):
        publish(tmp_path, draft, lifter)
    assert look_up(tmp_path, "small").version == 3
    set_label(tmp_path, "small", "stable", 2)
    assert look_up(tmp_path, "small").version == 2  # a bare name
    assert look_up(tmp_path, "small@3").version == 3
    assert look_up(tmp_path, "small@1").version == 1
    assert look_up(tmp_path, "small@stable").version == 2
    assert [published.labels for published in list_artifacts(tmp_path)] == [(), ("stable",), ()]
    with pytest.raises(InvalidArtifact, match="it has: 1, 2, 3, stable"):
        look_up(tmp_path, "small@canary")
    with pytest.raises(InvalidArtifact, match="there are: small"):
        look_up(tmp_path, "large")
    with pytest.raises(InvalidArtifact, match="no version 9"):
        set_label(tmp_path, "small", "stable", 9)
