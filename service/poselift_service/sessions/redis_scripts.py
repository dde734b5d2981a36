"""The Lua scripts that keep sessions in Redis. Each runs as one atomic step; nothing else changes a session."""

import hashlib
from collections.abc import Sequence as Items

from poselift_service.sessions.frame_order import IS_OUT_OF_ORDER_LUA
from poselift_service.sessions.store import STAMP_BYTES

Command = tuple[str | bytes | int, ...]


class Script:
    """A Lua script: its text is sent once to each server, and later calls name it by its SHA-1 digest."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def evalsha(self, keys: Items[str], arguments: Items[bytes | int]) -> Command:
        return "EVALSHA", self._digest, len(keys), *keys, *arguments

    def eval(self, keys: Items[str], arguments: Items[bytes | int]) -> Command:
        return "EVAL", self._text, len(keys), *keys, *arguments


def session_keys(session_id: str) -> tuple[str, str]:
    """KEYS of every script. Both contain the hash tag {session_id}, so that a cluster keeps them on one server."""
    return f"poselift:{{{session_id}}}:session", f"poselift:{{{session_id}}}:frames"


# Changes nothing. A replica refuses it, and so does a master without as many replicas as it must have: such a server
# may have been replaced during a failover, and not know the sessions of its successor.
_FAIL_UNLESS_WRITABLE = "redis.call('HDEL', KEYS[1], '')"

# Opens a session; changes nothing where it is there: the network may repeat an opening when frames have come since.
#
# KEYS[1]  hash: opened (the serialized opening), first (frame index of the first entry in the list), next (frame index
#          expected next), ended (only once the session has ended), and what KEEP_MOTION keeps
# KEYS[2]  list of entries, oldest first: the kept frames (bytes), each preceded by the stamp of its append
# ARGV[1]  time to live in milliseconds
# ARGV[2]  the serialized opening
#
# Returns 1 if the server demands a replica (`min-replicas-to-write`), otherwise 0.
OPEN = Script("""
-- HSETNX comes first: a full Redis refuses it, and it accepts everything that follows a first write.
if redis.call('HSETNX', KEYS[1], 'opened', ARGV[2]) == 1 then
  redis.call('HSET', KEYS[1], 'first', 0, 'next', 0)
  redis.call('DEL', KEYS[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
local told = redis.pcall('INFO', 'replication')
return type(told) == 'string' and string.find(told, 'min_slaves_good_slaves:', 1, true) and 1 or 0
""")

# Appends to a session, or only reads it.
#
# KEYS[1], KEYS[2]  as above
# ARGV[1]  time to live in milliseconds, renewed by this call
# ARGV[2]  frame index of the first frame to append
# ARGV[3]  number of frames before that one that are needed to lift the targets the new frames complete
# ARGV[4]  number of frames before that one to keep
# ARGV[5]  cursor of the caller's copy: it holds all kept frames before this index
# ARGV[6]  stamp of the last frame before that index
# ARGV[7]  1 to also read a session that has ended, or answer frames again that it has; 0 otherwise
# ARGV[8]  stamp of the frames to append
# ARGV[9...]  the frames to append; none to only read
#
# Returns one of
#   {"unknown"}            there is no such session, it has ended, some of its frames have been lost, or its keys hold
#                          something else. A server that may not write gives an error instead: others may know more.
#   {"conflict", next}     the frames are out of order, or differ from the stored frames at their indices; nothing has
#                          changed.
#   {outcome, opening, first, index, entries, ended}
#                          `entries`, beginning at `index`, are those that the caller lacks, without the ones that it
#                          has just appended. The outcome is "appended", "unchanged" (no frame was new), or "diverged":
#                          the caller's copy differs from the stored frames, because the store has lost its newest
#                          frames and others may have taken their place. The frames to append may have been computed
#                          from that copy, so nothing is appended; the caller gets all entries and must start over.
#                          `ended` is 1 if the session has ended, otherwise 0.
ADVANCE = Script(
    IS_OUT_OF_ORDER_LUA
    + """
-- A key that holds something else will never hold the session again.
local function broken(reply)
  if string.sub(reply.err, 1, 9) ~= 'WRONGTYPE' then
    return reply
  end
  redis.call('DEL', KEYS[1], KEYS[2])
  return {'unknown'}
end
local session = redis.pcall('HMGET', KEYS[1], 'opened', 'first', 'next', 'ended')
if session.err then
  return broken(session)
end
if not session[1] or (session[4] and ARGV[7] ~= '1') then
  FAIL_UNLESS_WRITABLE
  return {'unknown'}
end
local kept_first, next_index = tonumber(session[2]), tonumber(session[3])
local kept = redis.pcall('LLEN', KEYS[2])
if type(kept) == 'table' then
  return broken(kept)
end
if not kept_first or not next_index or kept ~= next_index - kept_first then
  redis.call('DEL', KEYS[1], KEYS[2])
  return {'unknown'}
end

local first, cursor, arriving = tonumber(ARGV[2]), tonumber(ARGV[5]), #ARGV - 8
if session[4] and arriving > 0 and first + arriving > next_index then
  return {'unknown'}
end
if arriving > 0 and is_out_of_order(first, tonumber(ARGV[3]), kept_first, next_index) then
  return {'conflict', next_index}
end

local outcome, index = 'unchanged', math.max(cursor, kept_first)
if cursor > kept_first then
  local newest_held = cursor <= next_index and redis.call('LINDEX', KEYS[2], cursor - 1 - next_index)
  if not newest_held or string.sub(newest_held, 1, STAMP_BYTES) ~= ARGV[6] then
    outcome, index = 'diverged', kept_first
  end
end
local entries = redis.call('LRANGE', KEYS[2], index - kept_first, -1)

if arriving > 0 and outcome == 'unchanged' then
  local stored = math.min(next_index - first, arriving)
  if stored > 0 then
    local overlap = redis.call('LRANGE', KEYS[2], first - kept_first, first - kept_first + stored - 1)
    for position, entry in ipairs(overlap) do
      if string.sub(entry, STAMP_BYTES + 1) ~= ARGV[8 + position] then
        return {'conflict', next_index}
      end
    end
  end
  if arriving > stored then
    for position = 9 + stored, #ARGV do
      redis.call('RPUSH', KEYS[2], ARGV[8] .. ARGV[position])
    end
    local dropped = math.max(0, first - tonumber(ARGV[4]) - kept_first)
    if dropped > 0 then
      redis.call('LTRIM', KEYS[2], dropped, -1)
      kept_first = kept_first + dropped
    end
    redis.call('HSET', KEYS[1], 'first', kept_first, 'next', first + arriving)
    outcome = 'appended'
  end
end
if not session[4] then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  redis.call('PEXPIRE', KEYS[2], ARGV[1])
end
return {outcome, session[1], kept_first, index, entries, session[4] and 1 or 0}
""".replace("STAMP_BYTES", str(STAMP_BYTES)).replace("FAIL_UNLESS_WRITABLE", _FAIL_UNLESS_WRITABLE)
)

# Keeps states of a session's motion in the world, as fields of its hash: they are part of it, and expire with it.
#
# KEYS[1], KEYS[2]  as above; a field motion:N of the hash is the state after all frames before index N
# ARGV[1], ARGV[2]  cursor that the states were computed with, as in ADVANCE
# ARGV[3]  states from before this index are not needed any more
# ARGV[4]  nor are, before the newest of these states, those at indices that are no multiples of this
# ARGV[5...]  index and state, one after another; the newest comes last
#
# Returns 1 if they are kept; 0 if the stored frames are not those of the cursor, or there is no session.
KEEP_MOTION = Script(
    """
local next_index = tonumber(redis.call('HGET', KEYS[1], 'next'))
if not next_index then
  FAIL_UNLESS_WRITABLE
  return 0
end
local cursor = tonumber(ARGV[1])
local newest_held = cursor <= next_index and redis.call('LINDEX', KEYS[2], cursor - 1 - next_index)
if not newest_held or string.sub(newest_held, 1, STAMP_BYTES) ~= ARGV[2] then
  return 0
end
local newest = tonumber(ARGV[#ARGV - 1])
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  local index = tonumber(string.match(name, '^motion:(%d+)$'))
  if index and (index < tonumber(ARGV[3]) or (index < newest and index % tonumber(ARGV[4]) ~= 0)) then
    redis.call('HDEL', KEYS[1], name)
  end
end
for position = 5, #ARGV, 2 do
  redis.call('HSET', KEYS[1], 'motion:' .. ARGV[position], ARGV[position + 1])
end
return 1
""".replace("STAMP_BYTES", str(STAMP_BYTES)).replace("FAIL_UNLESS_WRITABLE", _FAIL_UNLESS_WRITABLE)
)

# Reads the states of a session's motion in the world, without renewing its expiry.
#
# KEYS[1], KEYS[2]  as above
#
# Returns index and state, one after another.
READ_MOTION = Script(f"""
local kept, fields = {{}}, redis.call('HGETALL', KEYS[1])
if #fields == 0 then
  {_FAIL_UNLESS_WRITABLE}
end
for position = 1, #fields, 2 do
  local index = string.match(fields[position], '^motion:(%d+)$')
  if index then
    table.insert(kept, index)
    table.insert(kept, fields[position + 1])
  end
end
return kept
""")

# Looks for a session without renewing its expiry.
#
# KEYS[1], KEYS[2]  as above
#
# Returns 1 if it exists or ended a moment ago, otherwise 0, unless the server may not write.
EXISTS = Script(f"""
local exists = redis.call('EXISTS', KEYS[1])
if exists == 0 then
  {_FAIL_UNLESS_WRITABLE}
end
return exists
""")

# Ends a session.
#
# KEYS[1], KEYS[2]  as above
# ARGV[1]  time in milliseconds for which it stays readable
END = Script("""
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'ended', 1)
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  redis.call('PEXPIRE', KEYS[2], ARGV[1])
end
""")
