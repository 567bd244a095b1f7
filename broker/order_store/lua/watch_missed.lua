-- ARGV: folder, how long a path is remembered in ms, paths that are away (JSON), paths that are
--       back (JSON).
-- Forgets paths that were away for so long; one that comes back before is no new slide. Returns the
-- paths that were forgotten, as JSON.
local gone = KEY_WATCH_GONE .. ARGV[1]
for _, path in ipairs(cjson.decode(ARGV[3])) do redis.call('ZADD', gone, 'NX', now, path) end
for _, path in ipairs(cjson.decode(ARGV[4])) do redis.call('ZREM', gone, path) end
local old = redis.call('ZRANGEBYSCORE', gone, '-inf', now - tonumber(ARGV[2]), 'LIMIT', 0, 5000)
for _, path in ipairs(old) do
  redis.call('ZREM', gone, path)
  redis.call('HDEL', KEY_WATCH_SEEN .. ARGV[1], path)
  redis.call('HDEL', KEY_WATCH_REFUSED .. ARGV[1], path)
end
if #old == 0 then return '[]' end
return cjson.encode(old)
