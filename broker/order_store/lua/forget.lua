-- ARGV: id. Everything that is kept of an order that has ended, except its Idempotency-Key, which has its own end.
local id = ARGV[1]
local key = order_key(id)
if not redis.call('HGET', key, 'state') or not has_ended(id) then return 0 end
local state, algorithm, labels, scans = unpack(redis.call('HMGET', key, 'state', 'algorithm', 'labels', 'scans'))
for _, index in ipairs({'', ':state:' .. state, ':algorithm:' .. algorithm}) do
  redis.call('ZREM', 'sl:orders' .. index, id)
end
for name, value in pairs(cjson.decode(labels or '{}')) do
  redis.call('ZREM', 'sl:orders:label:' .. name .. '=' .. value, id)
end
for index = 0, tonumber(scans) - 1 do
  redis.call('DEL', key_of(id .. '.' .. index))
end
redis.call('ZREM', 'sl:ended', id)
redis.call('DEL', key, 'sl:log:' .. id, 'sl:attempts:' .. id)
return 1
