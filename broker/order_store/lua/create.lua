-- ARGV: id, record (JSON of hash fields), scans (JSON: id, dies_at or absent), labels (JSON), life_ms or expires_at_ms (negative = life),
--       key or '', fingerprint, key_ttl_s, max_waiting
local id, key, fingerprint = ARGV[1], ARGV[6], ARGV[7]
if redis.call('EXISTS', order_key(id)) == 1 then return cjson.encode({id = id, fresh = true, hints = {}}) end
if key ~= '' then
  local known = redis.call('HMGET', 'sl:key:' .. key, 'id', 'fingerprint')
  if known[1] then
    if known[2] ~= fingerprint then return cjson.encode({conflict = known[1]}) end
    return cjson.encode({id = known[1], fresh = false, hints = {}})
  end
end
if redis.call('ZCARD', 'sl:orders:state:queued') >= tonumber(ARGV[9]) then return cjson.encode({full = true}) end
-- A full Redis refuses every write, also the one that ends an order: the last quarter is theirs that are kept already.
local memory = redis.pcall('INFO', 'memory') -- an access list may forbid it; then Redis' own limit has to do
local used, limit = string.match(memory.err and '' or memory, '\nused_memory:(%d+).*\nmaxmemory:(%d+)')
if limit and tonumber(limit) > 0 and used / limit > 0.75 then
  return cjson.encode({percent = math.floor(100 * used / limit)})
end

local record, scans = cjson.decode(ARGV[2]), cjson.decode(ARGV[3])
local number = redis.call('INCR', 'sl:number')
local until_ms = tonumber(ARGV[5])
local expires = until_ms < 0 and now - until_ms or until_ms
for field, value in pairs(record) do redis.call('HSET', order_key(id), field, value) end
redis.call('HSET', order_key(id), 'state', 'queued', 'number', number, 'created_at', now, 'updated_at', now,
  'expires_at', expires, 'labels', ARGV[4], 'scans', #scans, 'open', #scans, 'failed', 0, 'fence', 0, 'lease_until', 0, 'cancel', 0)
for _, index in ipairs({'', ':state:queued', ':algorithm:' .. record.algorithm}) do
  redis.call('ZADD', 'sl:orders' .. index, number, id)
end
for name, value in pairs(cjson.decode(ARGV[4])) do
  redis.call('ZADD', 'sl:orders:label:' .. name .. '=' .. value, number, id)
end
log(id, 'queued')
redis.call('ZADD', 'sl:due', expires, id)
local hints, place = {}, {}
for index, scan in ipairs(scans) do
  local work = id .. '.' .. (index - 1)
  redis.call('HSET', key_of(work), 'id', scan.id, 'state', 'queued', 'fence', 0, 'attempts', 0, 'lease_until', 0)
  if scan.dies_at then redis.call('HSET', key_of(work), 'dies_at', scan.dies_at) end
  hints[index] = wait(work, 0)
  place[hints[index]] = {scan.dies_at or math.huge, index}
end
-- What dies first is rung first.
table.sort(hints, function(a, b)
  local one, other = place[a], place[b]
  return one[1] < other[1] or (one[1] == other[1] and one[2] < other[2])
end)
if key ~= '' then
  redis.call('HSET', 'sl:key:' .. key, 'id', id, 'fingerprint', fingerprint)
  redis.call('EXPIRE', 'sl:key:' .. key, ARGV[8])
end
return cjson.encode({id = id, fresh = true, hints = hints})
