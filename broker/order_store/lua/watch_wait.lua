-- ARGV: id of the arrival, arrival with why it waits (JSON), delay in ms.
-- Makes an arrival due again after the delay.
if redis.call('EXISTS', KEY_ARRIVAL .. ARGV[1]) == 0 then return 'unknown' end
redis.call('SET', KEY_ARRIVAL .. ARGV[1], ARGV[2])
redis.call('ZADD', KEY_ARRIVALS, now + tonumber(ARGV[3]), ARGV[1])
return 'waits'
