-- ARGV: folder, slides that are passed over (JSON: path -> what it is now).
-- Begins the record of a folder that is watched for the first time. Of a folder that has one,
-- nothing is changed. The empty path says that there is one.
local key = KEY_WATCH_SEEN .. ARGV[1]
if redis.call('HSETNX', key, '', '1') == 0 then return 'known' end
for path, is in pairs(cjson.decode(ARGV[2])) do redis.call('HSET', key, path, is) end
return 'begun'
