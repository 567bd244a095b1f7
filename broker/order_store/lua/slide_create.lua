-- ARGV: id, fields (JSON), how long the record is kept in ms, most slides of one caller, most slides
--       that may be fetched at a time.
-- Stores a slide that somebody looks at. The oldest slides of its caller go where there are too
-- many. Returns 'ok', or 'full'.
local id = ARGV[1]
local fields = cjson.decode(ARGV[2])
if fields.state == 'fetching' then
  if redis.call('ZCARD', KEY_SLIDES_DUE) >= tonumber(ARGV[5]) then return 'full' end
  redis.call('ZADD', KEY_SLIDES_DUE, now + GRACE_MS, id)
end
for name, value in pairs(fields) do redis.call('HSET', KEY_SLIDE .. id, name, value) end
redis.call('PEXPIRE', KEY_SLIDE .. id, ARGV[3])
local own = KEY_SLIDES_BY_CREATOR .. fields.created_by
redis.call('ZADD', own, now, id)
redis.call('PEXPIRE', own, 2 * tonumber(ARGV[3]))
while redis.call('ZCARD', own) > tonumber(ARGV[4]) do
  local oldest = redis.call('ZPOPMIN', own)[1]
  redis.call('DEL', KEY_SLIDE .. oldest)
  redis.call('ZREM', KEY_SLIDES_DUE, oldest)
end
return 'ok'
