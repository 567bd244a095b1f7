-- ARGV: id, fence, lease_ms, progress (JSON or '').
-- Prolongs the lease on a slide that is fetched and stores the progress. Returns 'ok' or 'lost'.
local key = KEY_SLIDE .. ARGV[1]
local stored = redis.call('HMGET', key, 'state', 'fence')
if stored[1] ~= 'fetching' or stored[2] ~= ARGV[2] then return 'lost' end
local until_ms = now + tonumber(ARGV[3])
redis.call('HSET', key, 'lease_until', until_ms)
if ARGV[4] ~= '' then redis.call('HSET', key, 'progress', ARGV[4]) end
redis.call('ZADD', KEY_SLIDES_DUE, until_ms, ARGV[1])
return 'ok'
