"""Publishing to a folder."""

import threading

from poselift.artifacts.publish import publish
from poselift.artifacts.repository import list_artifacts
from poselift.artifacts.verify import verify


def test_versions_increase_and_are_never_rewritten(tmp_path, draft, lifter):
    first = publish(tmp_path, draft, lifter)
    before = (first / "manifest.json").read_bytes()
    assert publish(tmp_path, draft, lifter).name == "2"
    assert (first / "manifest.json").read_bytes() == before


def test_a_taken_version_number_is_skipped_whatever_it_contains(tmp_path, draft, lifter):
    left_over = tmp_path / "small" / "1"
    left_over.mkdir(parents=True)
    (left_over / "model.safetensors").touch()
    empty = tmp_path / "small" / "4"
    empty.mkdir()
    assert publish(tmp_path, draft, lifter).name == "5"
    assert not list(empty.iterdir())
    assert [published.version for published in list_artifacts(tmp_path)] == [5]


def test_a_version_is_on_disk_before_it_is_visible(tmp_path, draft, lifter, monkeypatch):
    seen = []

    def synced(folder):
        seen.append((folder.name, [published.version for published in list_artifacts(tmp_path)]))

    monkeypatch.setattr("poselift.artifacts.publish.sync_folder", synced)
    publish(tmp_path, draft, lifter)
    assert seen == [("1", []), ("small", [1])]


def test_concurrent_jobs_each_get_a_version(tmp_path, draft, lifter):
    jobs = [threading.Thread(target=publish, args=(tmp_path, draft, lifter)) for _ in range(8)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [published.version for published in list_artifacts(tmp_path)] == list(range(1, 9))
    for published in list_artifacts(tmp_path):
        assert verify(published.location).version == published.version
