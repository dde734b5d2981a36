"""The order of frames is the same rule in memory and in the scripts of Redis."""

import itertools
from pathlib import Path

import redis
from poselift_service.errors import SessionConflict
from poselift_service.sessions.frame_order import IS_OUT_OF_ORDER_LUA, refuse_out_of_order
from poselift_service.sessions.store import Append

from tests.integration.redis_process import running_redis

NUMBERS = ", ".join(f"tonumber(ARGV[{number}])" for number in (1, 2, 3, 4))


def is_refused(first: int, needed_before: int, kept_first: int, next_index: int) -> bool:
    sent = Append(first, [], b"", needed_before, kept_before=needed_before)
    try:
        refuse_out_of_order(sent, kept_first=kept_first, next_index=next_index)
    except SessionConflict:
        return True
    return False


def test_frames_are_out_of_order_in_redis_where_they_are_in_memory(tmp_path: Path):
    with running_redis(tmp_path) as server, redis.Redis(port=server.port) as client:
        in_lua = client.register_script(f"{IS_OUT_OF_ORDER_LUA}return is_out_of_order({NUMBERS}) and 1 or 0")
        refused = {
            position: is_refused(*position) for position in itertools.product(range(5), repeat=4)
        }  # first, needed before, kept first, next
        assert {position: bool(in_lua(args=position)) for position in refused} == refused
    assert refused[2, 1, 0, 2] is False, "the frame that is expected"
    assert refused[1, 1, 0, 2] is False, "the last one again"
    assert refused[3, 1, 0, 2] is True, "a gap"
    assert refused[1, 1, 1, 2] is True, "what it needs is gone"
    assert refused[0, 4, 0, 2] is False, "there is nothing before the first one"
