"""Networks run by PyTorch or OpenVINO, on CPU or GPU, and the choice between them."""

import logging

# A program that wants to know which network was not used, and why, sets logging up, as the server does.
logging.getLogger(__name__).addHandler(logging.NullHandler())
