import logging

from poselift.networks.network import padded_size


def test_sizes_are_rounded_up_to_a_few_per_doubling():
    assert [padded_size(size, 1) for size in (1, 2, 3, 4, 5, 8, 9, 1000)] == [1, 2, 4, 4, 8, 8, 16, 1024]
    assert [padded_size(size, 2) for size in (1, 3, 5, 7, 27, 81, 96, 97)] == [1, 3, 6, 8, 32, 96, 96, 128]
    assert [padded_size(size, 16) for size in (31, 32, 33, 63, 65, 1000)] == [31, 32, 34, 64, 68, 1024]
    assert len({padded_size(size, 16) for size in range(33, 65)}) == 16


def test_what_is_logged_about_networks_does_not_reach_a_terminal_unasked(monkeypatch, capsys):
    logger = logging.getLogger("poselift.networks.candidates")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logger.warning("openvino cannot run this")
    assert capsys.readouterr().err == ""
