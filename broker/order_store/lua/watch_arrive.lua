-- ARGV: folder, path, what it is now, id of the arrival, arrival (JSON).
-- Makes a slide wait for its policy, unless it was taken as it is now. So it is taken once, however
-- many couriers look at the folder. Returns 'new' or 'known'.
local seen = KEY_WATCH_SEEN .. ARGV[1]
redis.call('ZREM', KEY_WATCH_GONE .. ARGV[1], ARGV[2])
if redis.call('HGET', seen, ARGV[2]) == ARGV[3] then return 'known' end
redis.call('HSET', seen, '', '1', ARGV[2], ARGV[3])
redis.call('HDEL', KEY_WATCH_REFUSED .. ARGV[1], ARGV[2])
redis.call('SET', KEY_ARRIVAL .. ARGV[4], ARGV[5])
redis.call('ZADD', KEY_ARRIVALS, now, ARGV[4])
return 'new'
