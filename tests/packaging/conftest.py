import pytest

from tests.packaging.distributions import Distributions, build


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """The wheel and the source archive of this checkout."""
    return build(tmp_path_factory.mktemp("dist"))
