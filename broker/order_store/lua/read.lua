-- ARGV: order ids.
-- Returns for each order its hash, the hashes of its scans and its delivery attempts, all as of one
-- moment; false where there is no such order. What is no hash or list is read as an empty one.
local orders = {}

local function read(command, ...)
  local reply = redis.pcall(command, ...)
  if reply.err then return {} end
  return reply
end

for position, id in ipairs(ARGV) do
  if redis.call('EXISTS', order_key(id)) == 0 then
    orders[position] = false
  else
    local count = tonumber(field_of(order_key(id), 'scans') or '') or 0
    local scans = {}
    for index = 0, math.min(count, MAX_SCANS) - 1 do
      scans[index + 1] = read('HGETALL', key_of(id .. '.' .. index))
    end
    local attempts = read('LRANGE', KEY_ATTEMPTS .. id, 0, -1)
    orders[position] = {read('HGETALL', order_key(id)), scans, attempts}
  end
end
return cjson.encode(orders)
