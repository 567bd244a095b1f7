-- ARGV: id, fence, fields (JSON), delay_ms, whether it counts as an attempt (1 or 0).
-- Ends the claim on a slide. With the state 'fetching' it waits again, from `delay_ms` on. Returns
-- 'ok' or 'lost'.
local id = ARGV[1]
local key = KEY_SLIDE .. id
local stored = redis.call('HMGET', key, 'state', 'fence')
if stored[1] ~= 'fetching' or stored[2] ~= ARGV[2] then return 'lost' end
local fields = cjson.decode(ARGV[3])
for name, value in pairs(fields) do redis.call('HSET', key, name, value) end
-- A late write of whoever held it is refused.
redis.call('HINCRBY', key, 'fence', 1)
redis.call('HSET', key, 'lease_until', 0)
if fields.state ~= 'fetching' then
  redis.call('ZREM', KEY_SLIDES_DUE, id)
  return 'ok'
end
if ARGV[5] == '0' then redis.call('HINCRBY', key, 'attempts', -1) end
redis.call('HSET', key, 'not_before', now + tonumber(ARGV[4]), 'sent', 0)
redis.call('ZADD', KEY_SLIDES_DUE, now + tonumber(ARGV[4]), id)
return 'ok'
