"""The order of frames: which frames a session takes next, said once and asked by both stores.

Frames follow those that are stored, or are some of the last ones again. So they are refused where they would leave a
gap, and where they begin so early that the frames needed to lift their targets are gone. (Frames that are stored
already must moreover be the same as before, which each store compares where it keeps them.) What is refused changes
nothing, and `SessionConflict` names the index that the session expects.

The store in memory calls the rule; Redis runs it inside of the script that appends, in one step with everything else.
"""

from poselift_service.errors import SessionConflict
from poselift_service.sessions.store import Append

# The rule in Lua, for the scripts; `refuse_out_of_order` is the same in Python.
IS_OUT_OF_ORDER_LUA = """
local function is_out_of_order(first, needed_before, kept_first, next_index)
  return first > next_index or math.max(0, first - needed_before) < kept_first
end
"""


def refuse_out_of_order(append: Append, *, kept_first: int, next_index: int) -> None:
    """Refuse frames that neither follow the stored ones nor are some of the last ones again.

    Args:
        kept_first: frame index of the oldest frame that is still stored.
        next_index: frame index that the session expects next.
    Raises:
        SessionConflict: they are out of order.
    """
    if append.first > next_index or max(0, append.first - append.needed_before) < kept_first:
        raise SessionConflict(next_index)
