"""The transitions of the Redis queue: one Lua script each, which the server runs alone and to its end.

The state is in ten keys of one hash tag, so in one slot of a cluster; every script is given all ten. A job's
id is a field, or a member, in each key that knows of the job:

    meta       hash        `format`, and `enqueued`: how many jobs ever were, which numbers them
    places     hash        the job's number in the order of enqueueing; who is in here exists
    payloads   hash
    attempts   hash        claims of this incarnation so far; absent before the first
    claims     hash        the claim id of the current claim; who is in here is claimed
    workers    hash        who holds it, for people who look
    available  sorted set  by place: what the next claim may take, queued or with an ended lease
    resting    sorted set  by `available_at`
    leases     sorted set  by `lease_expires_at`
    dead       sorted set  by the instant of death

A job is in exactly one of the four sorted sets. Instants are whole microseconds of the server's clock, below
2^53 and so exact as scores; Lua would print them with 14 digits, hence `text`.

A script that fails half-way is not undone, so each reads, and then writes what can't fail any more. The first
write of a claim or an ack is one that frees memory: a server with `maxmemory` reached refuses an enqueue, but
lets jobs be worked off.
"""

from dataclasses import dataclass, field
from hashlib import sha1

FORMAT = 1
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

_LET_GO = """
local function let_go(job)
  redis.call('ZREM', available, job)
  redis.call('ZREM', leases, job)
  redis.call('HDEL', claims, job)
  redis.call('HDEL', workers, job)
end
"""

_ONLY_IF_CURRENT = """
local job, claim_id = ARGV[2], ARGV[3]
if redis.call('HGET', claims, job) ~= claim_id then return {'lost'} end
"""

CHECK = Script(text=_HEAD + "return {'ok'}")

ENQUEUE = Script(
    text=_HEAD
    + """
local job, payload = ARGV[2], ARGV[3]
if redis.call('HEXISTS', places, job) == 1 then return {'known'} end
redis.call('HSET', meta, 'format', ARGV[1])
local place = redis.call('HINCRBY', meta, 'enqueued', 1)
redis.call('HSET', places, job, place)
redis.call('HSET', payloads, job, payload)
redis.call('ZADD', available, place, job)
return {'ok'}
"""
)

CLAIM = Script(
    text=_HEAD
    + _TIME
    + _LET_GO
    + """
local claim_id, worker, ttl, attempts_max, steps_max = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]

local function move_what_has_come(waiting, latest)
  local jobs = redis.call('ZRANGEBYSCORE', waiting, '-inf', latest, 'LIMIT', 0, steps_max)
  for _, job in ipairs(jobs) do
    redis.call('ZREM', waiting, job)
    redis.call('ZADD', available, redis.call('HGET', places, job), job)
  end
  return #jobs < tonumber(steps_max)
end

local is_all = move_what_has_come(resting, text(now))
is_all = move_what_has_come(leases, '(' .. text(now)) and is_all
if not is_all then return {'more'} end

for _ = 1, tonumber(steps_max) do
  local job = redis.call('ZRANGE', available, 0, 0)[1]
  if not job then return {'empty'} end
  local attempt = tonumber(redis.call('HGET', attempts, job) or 0) + 1
  let_go(job)
  if attempt <= attempts_max then
    redis.call('HSET', attempts, job, attempt)
    redis.call('HSET', claims, job, claim_id)
    redis.call('HSET', workers, job, worker)
    redis.call('ZADD', leases, text(now + ttl), job)
    return {'claimed', job, attempt, text(now), text(now + ttl), redis.call('HGET', payloads, job)}
  end
  redis.call('ZADD', dead, text(now), job)
end
return {'more'}
"""
)

ACK = Script(
    text=_HEAD
    + _ONLY_IF_CURRENT
    + _LET_GO
    + """
let_go(job)
redis.call('HDEL', attempts, job)
redis.call('HDEL', payloads, job)
redis.call('HDEL', places, job)
return {'ok'}
"""
)

RELEASE = Script(
    text=_HEAD
    + _ONLY_IF_CURRENT
    + _TIME
    + _LET_GO
    + """
local attempts_max, rest_us = tonumber(ARGV[4]), tonumber(ARGV[5])
let_go(job)
if tonumber(redis.call('HGET', attempts, job)) >= attempts_max then
  redis.call('ZADD', dead, text(now), job)
elseif rest_us > 0 then
  redis.call('ZADD', resting, text(now + rest_us), job)
else
  redis.call('ZADD', available, redis.call('HGET', places, job), job)
end
return {'ok'}
"""
)

EXTEND = Script(
    text=_HEAD
    + _ONLY_IF_CURRENT
    + _TIME
    + """
local ttl = ARGV[4]
redis.call('ZREM', available, job)
redis.call('ZADD', leases, text(now + ttl), job)
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
    + """
local job = ARGV[2]
if redis.call('ZREM', dead, job) == 0 then return {'no'} end
redis.call('HDEL', attempts, job)
redis.call('ZADD', available, redis.call('HGET', places, job), job)
return {'ok'}
"""
)

ALL = (CHECK, ENQUEUE, CLAIM, ACK, RELEASE, EXTEND, STATS, DEAD, REQUEUE)
