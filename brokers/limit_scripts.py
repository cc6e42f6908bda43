"""The scripts by which Redis counts calls, each at once and by the server's clock; :mod:`brokers.limits` runs them."""

from __future__ import annotations

# KEYS: log of grants (sorted set, score = ms), count of the day, birth of these counts in ms.
# ARGV: the birth and the server's run that the caller knows, its name of the call, the day's limit (-1: none), then limit
# and window in ms for each window. A server that may not be asked for its run is taken for one that never starts anew.
# Returns one of
#   0: granted, and the moment
#   1: a window is full, and the milliseconds to wait
#   2: the day is spent, and 0
#   3: the birth or the run is another one, and the birth, the run, the moment and whether it is that of the birth.
GRANT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local is_new = redis.call('SET', KEYS[3], now, 'NX', 'EX', 172800) and 1 or 0
local birth = redis.call('GET', KEYS[3])
local server = redis.pcall('INFO', 'server')
local run = type(server) == 'string' and server:match('run_id:(%x+)') or 'not told'
if birth ~= ARGV[1] or run ~= ARGV[2] then return {3, tonumber(birth), run, now, is_new} end
local day_limit = tonumber(ARGV[4])
local used = tonumber(redis.call('GET', KEYS[2]) or '0')
if day_limit >= 0 and used >= day_limit then return {2, 0} end
local wait, longest = 0, 1
for i = 5, #ARGV, 2 do
  local limit, window = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  longest = math.max(longest, window)
  if redis.call('ZCOUNT', KEYS[1], '(' .. (now - window), '+inf') >= limit then
    local blocking = redis.call('ZRANGE', KEYS[1], -limit, -limit, 'WITHSCORES')
    wait = math.max(wait, 1, blocking[2] and tonumber(blocking[2]) + window - now or window)
  end
end
if wait > 0 then return {1, wait} end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - longest)
redis.call('INCR', KEYS[2])
redis.call('EXPIRE', KEYS[2], 172800)
redis.call('EXPIRE', KEYS[3], 172800)
redis.call('ZADD', KEYS[1], now, now .. ':' .. ARGV[3])
redis.call('PEXPIRE', KEYS[1], longest)
return {0, now}
"""

# KEYS: as above, what each process brought back of the day (hash), what was noted of it. ARGV: the caller, its count of the
# day, how many calls of others are taken for forgotten, the birth of the counts, the caller's newest calls (moment:name).
# What was brought back and what was noted are the same calls: the larger of both is counted. The answer may be lost, so
# that the same is brought back again: it counts once.
BRING_BACK = """
local own = tonumber(ARGV[2])
if own > 0 then
  local noted, brought = tonumber(redis.call('GET', KEYS[5]) or '0'), 0
  for _, count in ipairs(redis.call('HVALS', KEYS[4])) do brought = brought + count end
  local more = own - tonumber(redis.call('HGET', KEYS[4], ARGV[1]) or '0')
  redis.call('INCRBY', KEYS[2], math.max(brought + more, noted) - math.max(brought, noted))
  redis.call('EXPIRE', KEYS[2], 172800)
  redis.call('HSET', KEYS[4], ARGV[1], own)
  redis.call('EXPIRE', KEYS[4], 172800)
end
for i = 1, tonumber(ARGV[3]) do redis.call('ZADD', KEYS[1], ARGV[4], 'forgotten:' .. i) end
for i = 5, #ARGV do redis.call('ZADD', KEYS[1], ARGV[i]:match('^%d+'), ARGV[i]) end
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('EXPIRE', KEYS[1], 172800) end
"""

# KEYS: as above. ARGV: the count of the day that was noted, the birth of the counts that said so.
# Returns the count as it then is, and the birth of these counts; 0 before the first call.
GIVE_BACK = """
local birth, count = redis.call('GET', KEYS[3]) or '0', tonumber(redis.call('GET', KEYS[2]) or '0')
local noted, lost = tonumber(ARGV[1]), 0
if birth == ARGV[2] then
  lost = noted - count
elseif redis.call('SET', KEYS[5], noted, 'NX', 'EX', 172800) then
  lost = noted
  for _, count in ipairs(redis.call('HVALS', KEYS[4])) do lost = lost - count end
end
if lost > 0 then
  count = redis.call('INCRBY', KEYS[2], lost)
  redis.call('EXPIRE', KEYS[2], 172800)
end
return {count, tonumber(birth)}
"""

# KEYS: the first three. ARGV: the birth that the caller knows, its calls (moment:name) that may not be counted.
COUNT_LATE = """
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return end
local late = 0
for i = 2, #ARGV do late = late + redis.call('ZADD', KEYS[1], ARGV[i]:match('^%d+'), ARGV[i]) end
redis.call('INCRBY', KEYS[2], late)
redis.call('EXPIRE', KEYS[2], 172800)
redis.call('EXPIRE', KEYS[1], 172800)
"""
