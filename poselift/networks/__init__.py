"""Networks run by PyTorch or OpenVINO, on CPU or GPU, and the choice between them."""
