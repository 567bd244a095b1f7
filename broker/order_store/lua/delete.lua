-- ARGV: order id.
-- Deletes all keys of an order that has ended, except its Idempotency-Key, which expires by itself.
-- Returns 1, or 0 where there is no such order or it has not ended.
local id = ARGV[1]
local key = order_key(id)
if not redis.call('HGET', key, 'state') or not has_ended(id) then return 0 end
local state, algorithm, labels, scans =
  unpack(redis.call('HMGET', key, 'state', 'algorithm', 'labels', 'scans'))
redis.call('ZREM', KEY_ORDERS, id)
redis.call('ZREM', KEY_ORDERS_BY_STATE .. state, id)
redis.call('ZREM', KEY_ORDERS_BY_ALGORITHM .. algorithm, id)
for name, value in pairs(cjson.decode(labels or '{}')) do
  redis.call('ZREM', KEY_ORDERS_BY_LABEL .. name .. '=' .. value, id)
end
for index = 0, tonumber(scans) - 1 do
  redis.call('DEL', key_of(id .. '.' .. index))
end
redis.call('ZREM', KEY_ENDED, id)
redis.call('DEL', key, KEY_LOG .. id, KEY_ATTEMPTS .. id)
return 1
