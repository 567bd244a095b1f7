-- ARGV: most arrivals, lease in ms.
-- Takes the arrivals that are due for the longest time, so that nobody else takes them for the
-- lease. Returns a JSON list of {id, arrival}.
local taken = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEY_ARRIVALS, '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local arrival = redis.call('GET', KEY_ARRIVAL .. id)
  if arrival then
    redis.call('ZADD', KEY_ARRIVALS, now + tonumber(ARGV[2]), id)
    taken[#taken + 1] = {id = id, arrival = arrival}
  else
    redis.call('ZREM', KEY_ARRIVALS, id)
  end
end
if #taken == 0 then return '[]' end
return cjson.encode(taken)
