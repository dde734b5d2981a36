"""Windows as the tests of synthetic data draw them."""

from poselift_training.data.synthetic.views import Views
from poselift_training.data.synthetic.windows import SyntheticWindows

TYPICAL = Views()


def draw_windows(motion, views=TYPICAL, **changes):
    settings = {"frames": 27, "stride": 3, "batch_size": 64, "seed": 1, **changes}
    return SyntheticWindows(motion, views, **settings)
