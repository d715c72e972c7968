"""The transitions of the Redis queue: one Lua script each, which the server runs alone and to its end.

The state is in twelve keys of one hash tag, so in one slot of a cluster; every script is given all. A job's
id is a field, or a member, in each key that knows of the job:

    meta       hash        `format`; `enqueued`: how many jobs ever were, which numbers them; `rings`
    places     hash        the job's number in the order of enqueueing; who is in here exists
    payloads   hash
    attempts   hash        claims of this incarnation so far; absent before the first
    claims     hash        the claim id of the current claim; who is in here is claimed
    workers    hash        who holds it, for people who look
    available  sorted set  by place: what the next claim may take, queued or with an ended lease
    resting    sorted set  by `available_at`
    leases     sorted set  by `lease_expires_at`
    dead       sorted set  by the instant of death
    awaited    string      until when somebody waits, at the latest; gone when nobody does
    bell       stream      the last ring; its id is the number of rings

A job is in exactly one of the four sorted sets. Instants are whole microseconds of the server's clock, below
2^53 and so exact as scores; Lua would print them with 14 digits, hence `text`.

A script that fails half-way is not undone, so each reads, and then writes what can't fail any more. The first
write of a claim or an ack is one that frees memory: a server with `maxmemory` reached refuses an enqueue, but
lets jobs be worked off.

The bell. Who waits asks for the number of rings, and leaves in `awaited` when it will look again by itself,
in one script that finds nothing available; then it blocks on the bell until there is a later ring. Whatever
makes a job available before that instant, or a lease end, rings once, for all who wait, and clears `awaited`:
no ring can fall between the look and the blocking, none is used up by a waiter that died, and what nobody
waits for costs one `GET`. Of the bell only the last ring is kept.
"""

from dataclasses import dataclass, field
from hashlib import sha1

FORMAT = 2
"""Of what is in the keys; a queue of another one is refused."""

PARTS = (
    "meta",
    "places",
    "payloads",
    "attempts",
    "claims",
    "workers",
    "available",
    "resting",
    "leases",
    "dead",
    "awaited",
    "bell",
)
"""The keys, in the order in which every script takes them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """A script, and the digest by which a server that has seen it knows it."""

    text: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        """Work out the digest that `EVALSHA` takes."""
        digest = sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "digest", digest)


def keys(name: str) -> tuple[str, ...]:
    """Return the keys of the queue of that name, which is their hash tag."""
    return tuple(f"{{{name}}}:{part}" for part in PARTS)


_HEAD = f"""
local {", ".join(PARTS)} = unpack(KEYS)
local format = redis.call('HGET', meta, 'format')
if format and format ~= ARGV[1] then return {{'format', format}} end
"""

ASK_TIME = "unpack(redis.call('TIME'))"
"""The server's clock, as seconds and microseconds: the only one that any transition looks at."""

_TIME = f"""
local seconds, rest = {ASK_TIME}
local now = seconds * 1000000 + rest
local function text(number) return string.format('%.0f', number) end
"""

_RING = """
local function ring(due)
  local looks_again = redis.call('GET', awaited)
  if looks_again and due < tonumber(looks_again) then
    redis.call('DEL', awaited)
    local rings = redis.call('HINCRBY', meta, 'rings', 1)
    redis.call('XADD', bell, 'MAXLEN', 1, rings .. '-0', 'rings', rings)
  end
end
"""

_LET_GO = """
local function let_go(job)
  if redis.call('ZREM', leases, job) == 0 then redis.call('ZREM', available, job) end
  redis.call('HDEL', claims, job)
  redis.call('HDEL', workers, job)
end
"""

_ONLY_IF_CURRENT = """
local job, claim_id = ARGV[2], ARGV[3]
if redis.call('HGET', claims, job) ~= claim_id then return {'lost'} end
"""

CHECK = Script(text=_HEAD + "return {'ok'}")

# Takes the number of jobs, then the id and the payload of each.
ENQUEUE = Script(
    text=_HEAD
    + _RING
    + """
local is_any_new = false
for at = 3, 2 * ARGV[2] + 1, 2 do
  local job = ARGV[at]
  if redis.call('HEXISTS', places, job) == 0 then
    if not format then redis.call('HSET', meta, 'format', ARGV[1]) end
    format, is_any_new = ARGV[1], true
    local place = redis.call('HINCRBY', meta, 'enqueued', 1)
    redis.call('HSET', places, job, place)
    redis.call('HSET', payloads, job, ARGV[at + 1])
    redis.call('ZADD', available, place, job)
  end
end
if is_any_new then ring(0) end
return {'ok'}
"""
)

# Of the jobs that it takes, each has a claim id of its own: the nonce, and its number among them.
CLAIM = Script(
    text=_HEAD
    + _TIME
    + _RING
    + """
local nonce, worker, ttl, attempts_max = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local steps_max, limit = tonumber(ARGV[6]), tonumber(ARGV[7])

local function move_what_has_come(waiting, latest)
  local jobs = redis.call('ZRANGEBYSCORE', waiting, '-inf', latest, 'LIMIT', 0, steps_max)
  for _, job in ipairs(jobs) do
    redis.call('ZREM', waiting, job)
    redis.call('ZADD', available, redis.call('HGET', places, job), job)
  end
  return #jobs < steps_max
end

local is_all = move_what_has_come(resting, text(now))
is_all = move_what_has_come(leases, '(' .. text(now)) and is_all
if not is_all then return {'more'} end

local expires = text(now + ttl)
local found = {'full', text(now), expires}

local function claim_or_bury(job)
  local attempt = tonumber(redis.call('HGET', attempts, job) or 0) + 1
  redis.call('ZREM', available, job)
  if attempt > attempts_max then
    redis.call('HDEL', claims, job)
    redis.call('HDEL', workers, job)
    redis.call('ZADD', dead, text(now), job)
    return
  end
  local claim_id = nonce .. '.' .. #found - 2
  redis.call('HSET', attempts, job, attempt)
  redis.call('HSET', claims, job, claim_id)
  redis.call('HSET', workers, job, worker)
  redis.call('ZADD', leases, expires, job)
  found[#found + 1] = {job, claim_id, attempt, redis.call('HGET', payloads, job)}
end

local steps = 0
while #found - 3 < limit do
  local heads = redis.call('ZRANGE', available, 0, limit - (#found - 3) - 1)
  if not heads[1] then found[1] = 'empty' break end
  if steps >= steps_max then found[1] = 'more' break end
  for _, job in ipairs(heads) do claim_or_bury(job) end
  steps = steps + #heads
end
if #found > 3 then ring(tonumber(expires)) end
return found
"""
)

# Takes the number of claims, then the job and the claim id of each; returns the numbers of the lost ones.
ACK = Script(
    text=_HEAD
    + _LET_GO
    + """
local answer = {'ok'}
for number = 1, ARGV[2] do
  local job, claim_id = ARGV[2 * number + 1], ARGV[2 * number + 2]
  if redis.call('HGET', claims, job) == claim_id then
    let_go(job)
    redis.call('HDEL', attempts, job)
    redis.call('HDEL', payloads, job)
    redis.call('HDEL', places, job)
  else
    answer[#answer + 1] = number
  end
end
return answer
"""
)

RELEASE = Script(
    text=_HEAD
    + _ONLY_IF_CURRENT
    + _TIME
    + _RING
    + _LET_GO
    + """
local attempts_max, rest_us = tonumber(ARGV[4]), tonumber(ARGV[5])
let_go(job)
if tonumber(redis.call('HGET', attempts, job)) >= attempts_max then
  redis.call('ZADD', dead, text(now), job)
elseif rest_us > 0 then
  redis.call('ZADD', resting, text(now + rest_us), job)
  ring(now + rest_us)
else
  redis.call('ZADD', available, redis.call('HGET', places, job), job)
  ring(0)
end
return {'ok'}
"""
)

EXTEND = Script(
    text=_HEAD
    + _ONLY_IF_CURRENT
    + _TIME
    + _RING
    + """
local ttl = ARGV[4]
redis.call('ZREM', available, job)
redis.call('ZADD', leases, text(now + ttl), job)
ring(now + ttl)
return {'ok', text(now + ttl)}
"""
)

STATS = Script(
    text=_HEAD
    + _TIME
    + """
local jobs, held, buried = redis.call('HLEN', places), redis.call('HLEN', claims), redis.call('ZCARD', dead)
local valid = redis.call('ZCOUNT', leases, text(now), '+inf')
local delayed = redis.call('ZCOUNT', resting, '(' .. text(now), '+inf')
return {'ok', jobs - held - buried - delayed, delayed, valid, held - valid, buried}
"""
)

DEAD = Script(
    text=_HEAD
    + """
local letters = redis.call('ZRANGE', dead, 0, -1, 'WITHSCORES')
local found = {'ok'}
for at = 1, #letters, 2 do
  local job = letters[at]
  local place, attempt = redis.call('HGET', places, job), redis.call('HGET', attempts, job)
  found[#found + 1] = {place, job, attempt, letters[at + 1], redis.call('HGET', payloads, job)}
end
return found
"""
)

REQUEUE = Script(
    text=_HEAD
    + _RING
    + """
local job = ARGV[2]
if redis.call('ZREM', dead, job) == 0 then return {'no'} end
redis.call('HDEL', attempts, job)
redis.call('ZADD', available, redis.call('HGET', places, job), job)
ring(0)
return {'ok'}
"""
)

# Takes how long to wait at most; returns how long, and after which ring.
WAIT = Script(
    text=_HEAD
    + _TIME
    + """
if redis.call('ZCARD', available) > 0 then return {'available'} end
local due = math.huge
local function comes_due(waiting, later)
  local first = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
  if first[1] then due = math.min(due, tonumber(first[2]) + later) end
end

comes_due(resting, 0)
comes_due(leases, 1)
if due <= now then return {'available'} end
local looks_again = math.min(now + ARGV[2], due)
local others = redis.call('GET', awaited)
local rings = redis.call('HGET', meta, 'rings') or '0'
if looks_again > now and tonumber(others or 0) < looks_again then
  redis.call('SET', awaited, text(looks_again), 'PX', math.ceil((looks_again - now) / 1000) + 1000)
end
return {'wait', text(looks_again - now), rings}
"""
)

ALL = (CHECK, ENQUEUE, CLAIM, ACK, RELEASE, EXTEND, STATS, DEAD, REQUEUE, WAIT)
