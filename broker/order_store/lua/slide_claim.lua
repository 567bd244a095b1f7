-- ARGV: id, lease_ms, most attempts.
-- Gives a slide that waits to be fetched to one courier. Returns JSON: fence and attempts, or
-- refused.
local key = KEY_SLIDE .. ARGV[1]
local stored = redis.call('HMGET', key, 'state', 'lease_until', 'attempts', 'not_before')
if stored[1] ~= 'fetching' then return cjson.encode({refused = 'state'}) end
if tonumber(stored[2] or 0) > now then return cjson.encode({refused = 'held'}) end
if tonumber(stored[4] or 0) > now then return cjson.encode({refused = 'early'}) end
if tonumber(stored[3] or 0) >= tonumber(ARGV[3]) then return cjson.encode({refused = 'attempts'}) end
local until_ms = now + tonumber(ARGV[2])
redis.call('HSET', key, 'lease_until', until_ms, 'sent', 0)
redis.call('HDEL', key, 'progress')
redis.call('ZADD', KEY_SLIDES_DUE, until_ms, ARGV[1])
local attempts = redis.call('HINCRBY', key, 'attempts', 1)
local fence = redis.call('HINCRBY', key, 'fence', 1)
return cjson.encode({fence = fence, attempts = attempts})
