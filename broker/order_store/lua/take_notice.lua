-- ARGV: lease_ms.
-- Takes the notice that is due for the longest time, so that nobody else takes it for `lease_ms`.
-- Returns its name, or ''.
local due = redis.call('ZRANGEBYSCORE', KEY_NOTICES, '-inf', now, 'LIMIT', 0, 1)
if #due == 0 then return '' end
redis.call('ZADD', KEY_NOTICES, now + tonumber(ARGV[1]), due[1])
return due[1]
