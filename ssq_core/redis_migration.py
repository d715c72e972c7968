"""How does a Redis queue take jobs over? A piece and the note that it was taken are one script.

The note is a handful of fields in the queue's own `meta`, named after the move, so that it is in the same
slot of a cluster; a piece that does not begin where the note ends changes nothing.
"""

from typing import Any

from ssq_core.microseconds import to_micros
from ssq_core.queue import encoded_job_id
from ssq_core.redis_scripts import PARTS, Script
from ssq_core.redis_server import Server
from ssq_core.stored import Moved, Piece, StoredJob

_TIMEOUT_SECONDS = 30.0

_HEAD = f"""
local {", ".join(PARTS)} = unpack(KEYS)
local format = redis.call('HGET', meta, 'format')
if format and format ~= ARGV[1] then return {{'format', format}} end
local move = 'migration:' .. (ARGV[2] or '') .. ':'
local function noted()
  local found = {{'ok'}}
  for _, word in ipairs({{'position', 'queued', 'resting', 'dead', 'met', 'damaged'}}) do
    local number = redis.call('HGET', meta, move .. word)
    if not number and word == 'position' then return {{'unknown'}} end
    found[#found + 1] = number or '0'
  end
  return found
end
"""

_IS_EMPTY = Script(text=_HEAD + "return {redis.call('HLEN', places) == 0 and 'empty' or 'used'}")

_MOVED = Script(text=_HEAD + "return noted()")

_BEGIN = Script(
    text=_HEAD
    + """
if redis.call('HLEN', places) == 0 then
  redis.call('HSET', meta, 'format', ARGV[1])
  redis.call('HSETNX', meta, move .. 'position', '0')
end
return noted()
"""
)

_ADOPT = Script(
    text=_HEAD
    + """
local after, last, broken = ARGV[3], ARGV[4], ARGV[5]
if redis.call('HGET', meta, move .. 'position') ~= after then return {'elsewhere'} end
local function count(word, by) redis.call('HINCRBY', meta, move .. word, by) end
for at = 6, #ARGV, 5 do
  local job, payload, attempt, state, instant = unpack(ARGV, at, at + 4)
  if redis.call('HEXISTS', places, job) == 1 then
    count('met', 1)
  else
    local place = redis.call('HINCRBY', meta, 'enqueued', 1)
    redis.call('HSET', places, job, place)
    redis.call('HSET', payloads, job, payload)
    if attempt ~= '0' then redis.call('HSET', attempts, job, attempt) end
    if state == 'dead' then
      redis.call('ZADD', dead, instant, job)
    elseif state == 'resting' then
      redis.call('ZADD', resting, instant, job)
    else
      redis.call('ZADD', available, place, job)
    end
    count(state, 1)
  end
end
count('damaged', broken)
redis.call('HSET', meta, move .. 'position', last)
return noted()
"""
)


class RedisDestination:
    """A Redis queue that takes jobs over. Every method may raise `QueueUnavailable` and `OutcomeUnknown`."""

    def __init__(self, url: str, *, name: str = "ssq") -> None:
        self._server = Server(url=url, client=None, name=name, seconds_max=_TIMEOUT_SECONDS)
        self.where = self._server.where

    def is_empty(self) -> bool:
        """Whether it has no job."""
        (word,) = self._server.run("look", _IS_EMPTY)
        return bool(word == b"empty")

    def moved(self, token: str) -> Moved | None:
        """Return how far a move has come, None if it knows nothing of it."""
        return _moved(self._server.run("look", _MOVED, token))

    def begin(self, token: str) -> Moved | None:
        """Note that a move begins, and return how far it is; None if there are jobs of others."""
        return _moved(self._server.run("begin", _BEGIN, token))

    def adopt(self, token: str, piece: Piece) -> Moved | None:
        """Take a piece and note it, in one script; None, and nothing, unless `after` is how far it is."""
        terms = [term for job in piece.jobs for term in _terms(job)]
        return _moved(
            self._server.run("adopt", _ADOPT, token, piece.after, piece.last, piece.damaged, *terms)
        )

    def close(self) -> None:
        """Close the idle connections."""
        self._server.close()


def _terms(job: StoredJob) -> tuple[bytes | int | str, ...]:
    state, instant = "queued", 0
    if job.died_at is not None:
        state, instant = "dead", to_micros(job.died_at)
    elif job.available_at is not None:
        state, instant = "resting", to_micros(job.available_at)
    return encoded_job_id(job.job_id), job.payload, job.attempts, state, instant


def _moved(answer: list[Any]) -> Moved | None:
    word, *numbers = answer
    if word != b"ok":
        return None
    position, queued, resting, dead, met, damaged = map(int, numbers)
    return Moved(position=position, queued=queued, resting=resting, dead=dead, met=met, damaged=damaged)
