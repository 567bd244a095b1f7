-- ARGV: id, to ('queued' = the scans that are not classified once more, 'delivering' = the kept results once more), life_ms, token.
-- An order that ended goes on, because somebody asked for it. Answers hints, or the state that does not allow it.
local id, to = ARGV[1], ARGV[2]
local key = order_key(id)
local state = redis.call('HGET', key, 'state')
if not state then return cjson.encode({refused = 'absent'}) end
-- the answer to this very call was lost; the timer rings for it
if redis.call('HGET', key, 'reopened') == ARGV[4] then return cjson.encode({hints = {}}) end
local hints, works = {}, {}
for index = 0, tonumber(redis.call('HGET', key, 'scans')) - 1 do
  local work = id .. '.' .. index
  if redis.call('HGET', key_of(work), 'state') ~= 'classified' then works[#works + 1] = work end
end
-- all scans are classified and only the delivery is missing, or the other way round
if (to == 'delivering') ~= (#works == 0) or not may(REOPENED, 'order', state, to) then
  return cjson.encode({refused = state})
end
redis.call('HDEL', key, 'error', 'retries', 'blame', 'rank')
redis.call('HSET', key, 'reopened', ARGV[4], 'cancel', 0, 'failed', 0, 'open', #works, 'resend', 1, 'expires_at', now + tonumber(ARGV[3]))
move_order(id, to, REOPENED)
for _, work in ipairs(works) do
  move_scan(work, 'queued', REOPENED)
  redis.call('HDEL', key_of(work), 'error', 'retries', 'rank')
  redis.call('HSET', key_of(work), 'attempts', 0, 'progress', '{}')
  hints[#hints + 1] = wait(work, 0)
end
if to == 'delivering' then
  hints[1] = wait(id, 0)
else
  redis.call('ZADD', 'sl:due', now + tonumber(ARGV[3]), id)
end
return cjson.encode({hints = hints})
