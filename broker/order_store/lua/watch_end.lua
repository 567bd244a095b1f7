-- ARGV: folder, id of the arrival, path, why its order was refused (JSON) or ''.
-- Ends an arrival: it is ordered, or no policy wants it, or it is refused, which is remembered.
if redis.call('DEL', KEY_ARRIVAL .. ARGV[2]) == 0 then return 'unknown' end
redis.call('ZREM', KEY_ARRIVALS, ARGV[2])
if ARGV[4] ~= '' then redis.call('HSET', KEY_WATCH_REFUSED .. ARGV[1], ARGV[3], ARGV[4]) end
return 'ended'
