-- ARGV: work, fence, lease_ms, progress (JSON or '').
-- Prolongs a lease and stores the progress. Returns 'ok', 'cancel' or 'lost'.
local work = ARGV[1]
local key = key_of(work)
if redis.call('HGET', key, 'fence') ~= ARGV[2] or not is_held(work) then return 'lost' end
local until_ms = now + tonumber(ARGV[3])
redis.call('HSET', key, 'lease_until', until_ms)
redis.call('ZADD', KEY_DUE, until_ms, work)
local id, index = split(work)
if ARGV[4] ~= '' and redis.call('HGET', key, 'progress') ~= ARGV[4] then
  redis.call('HSET', key, 'progress', ARGV[4])
  if index then tell(id, 'scan', index, 'progress', ARGV[4]) end
end
if redis.call('HGET', order_key(id), 'cancel') == '1' then return 'cancel' end
return 'ok'
