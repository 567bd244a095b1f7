-- ARGV: order ids.
-- Returns for each order its hash, the hashes of its scans and its delivery attempts, all as of one
-- moment; false where there is no such order.
local orders = {}
for position, id in ipairs(ARGV) do
  local fields = redis.call('HGETALL', order_key(id))
  if #fields == 0 then
    orders[position] = false
  else
    local scans = {}
    for index = 0, tonumber(redis.call('HGET', order_key(id), 'scans')) - 1 do
      scans[index + 1] = redis.call('HGETALL', key_of(id .. '.' .. index))
    end
    orders[position] = {fields, scans, redis.call('LRANGE', KEY_ATTEMPTS .. id, 0, -1)}
  end
end
return cjson.encode(orders)
