import pytest
from poselift_training.data.synthetic.views import Views

from poselift.errors import InvalidRecipe


@pytest.mark.parametrize(
    "changes",
    [
        {"focal": (0, 1)},
        {"person_height": (2, 1)},
        {"aspects": ()},
        {"noise_scale": -1},
        {"direct": 1.5},
        {"gaps": 2},
        {"missing_limb": 2},
    ],
)
def test_impossible_views_are_refused(changes):
    with pytest.raises(InvalidRecipe, match=f"views.{next(iter(changes))}"):
        Views(**changes)
