-- ARGV: id, fields (JSON).
-- Notes what the viewer said of a slide that was fetched, unless somebody else has noted it.
local key = KEY_SLIDE .. ARGV[1]
if redis.call('HGET', key, 'state') ~= 'fetched' then return 'refused' end
for name, value in pairs(cjson.decode(ARGV[2])) do redis.call('HSET', key, name, value) end
return 'ok'
