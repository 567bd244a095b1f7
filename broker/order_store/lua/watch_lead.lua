-- ARGV: folder, name of a courier, how long it leads in ms; 0 = it stops.
-- Lets one courier at a time look at a folder. Returns 1 where it is this one, else 0.
local key = KEY_WATCHERS .. ARGV[1]
local leader = redis.call('GET', key)
if leader and leader ~= ARGV[2] then return 0 end
if ARGV[3] == '0' then
  redis.call('DEL', key)
  return 0
end
redis.call('SET', key, ARGV[2], 'PX', ARGV[3])
return 1
