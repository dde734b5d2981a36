import pytest


@pytest.fixture
def detected(sample):
    """Keypoints [8, 17, 3] in COCO's order."""
    return sample[:8]
