-- ARGV: id.
-- Forgets a slide that somebody looks at. Whoever fetches it has lost the lease. Returns 'deleted' or
-- 'absent'.
local id = ARGV[1]
local creator = redis.call('HGET', KEY_SLIDE .. id, 'created_by')
if not creator then return 'absent' end
redis.call('DEL', KEY_SLIDE .. id)
redis.call('ZREM', KEY_SLIDES_DUE, id)
redis.call('ZREM', KEY_SLIDES_BY_CREATOR .. creator, id)
return 'deleted'
