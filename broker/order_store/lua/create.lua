-- ARGV: order id, record (JSON of hash fields), scans (JSON: id, and dies_at where its URL
--       expires), labels (JSON), expires_at_ms (negative: how long the order lives),
--       Idempotency-Key or '', fingerprint of the request, life of the key in seconds, largest
--       number of waiting orders, largest number of waiting orders of its creator or ''.
-- Stores a new order and makes its scans wait. Returns {id, fresh, messages}, or, where nothing was
-- stored, {conflict} (the order that has the key) or {refused}: 'all' or 'share' (too many orders
-- wait, or, with {queued}, too many of this creator), or 'memory' with {percent} (how full it is).
local id, idempotency_key, fingerprint = ARGV[1], ARGV[6], ARGV[7]
-- the answer to an earlier call was lost: the order is stored, and the scheduler sends its messages
if redis.call('EXISTS', order_key(id)) == 1 then
  return cjson.encode({id = id, fresh = true, messages = {}})
end
if idempotency_key ~= '' then
  local known = redis.call('HMGET', KEY_IDEMPOTENCY .. idempotency_key, 'id', 'fingerprint')
  if known[1] then
    if known[2] ~= fingerprint then return cjson.encode({conflict = known[1]}) end
    return cjson.encode({id = known[1], fresh = false, messages = {}})
  end
end
if redis.call('ZCARD', KEY_ORDERS_BY_STATE .. 'queued') >= tonumber(ARGV[9]) then
  return cjson.encode({refused = 'all'})
end
local record, scans, labels = cjson.decode(ARGV[2]), cjson.decode(ARGV[3]), cjson.decode(ARGV[4])
local creator = record.created_by
-- what a client of Kue sent, where the order came from one; `kue` is then the number of the job
local kue_job = record.kue_job
record.kue_job = nil
if ARGV[10] ~= '' then
  local queued = redis.call('SCARD', KEY_QUEUED_BY_CREATOR .. creator)
  if queued >= tonumber(ARGV[10]) then return cjson.encode({refused = 'share', queued = queued}) end
end
-- A full Redis refuses every write, also the one that ends an order. So the last quarter of its
-- memory is for orders that are stored already. Where the access list forbids INFO, this check is
-- left out and only Redis' own limit remains.
local memory = redis.pcall('INFO', 'memory')
if memory.err then memory = '' end
local used, limit = string.match(memory, '\nused_memory:(%d+).*\nmaxmemory:(%d+)')
if limit and tonumber(limit) > 0 and used / limit > 0.75 then
  return cjson.encode({refused = 'memory', percent = math.floor(100 * used / limit)})
end

local number = redis.call('INCR', KEY_ORDER_NUMBER)
local expires = tonumber(ARGV[5])
local delay_ms = tonumber(record.delay_ms or '0')
if expires < 0 then expires = now + delay_ms - expires end
for field, value in pairs(record) do redis.call('HSET', order_key(id), field, value) end
redis.call('HSET', order_key(id), 'state', 'queued', 'number', number, 'created_at', now,
  'updated_at', now, 'expires_at', expires, 'labels', ARGV[4], 'scans', #scans, 'open', #scans,
  'failed', 0, 'fence', 0, 'lease_until', 0, 'cancel', 0)
redis.call('ZADD', KEY_ORDERS, number, id)
redis.call('ZADD', KEY_ORDERS_BY_STATE .. 'queued', number, id)
redis.call('ZADD', KEY_ORDERS_BY_ALGORITHM .. record.algorithm, number, id)
if creator then
  redis.call('ZADD', KEY_ORDERS_BY_CREATOR .. creator, number, id)
  count_queued(id, 'queued')
end
for name, value in pairs(labels) do
  redis.call('ZADD', KEY_ORDERS_BY_LABEL .. name .. '=' .. value, number, id)
end
if kue_job then
  kue_job.order = id
  kue_rules().add(record.kue, kue_job, now)
end
tell(id, 'state', 'queued')
log(id, 'queued')
redis.call('ZADD', KEY_DUE, expires, id)
if delay_ms > 0 then log(id, 'not begun before ' .. math.ceil(delay_ms / 1000) .. ' s from now') end
local messages, place = {}, {}
for index, scan in ipairs(scans) do
  local work = id .. '.' .. (index - 1)
  redis.call('HSET', key_of(work), 'id', scan.id, 'state', 'queued', 'fence', 0, 'attempts', 0,
    'lease_until', 0)
  if scan.dies_at then redis.call('HSET', key_of(work), 'dies_at', scan.dies_at) end
  if scan.looked_at then redis.call('HSET', key_of(work), 'looked_at', scan.looked_at) end
  local message = wait(work, delay_ms)
  if message then
    messages[#messages + 1] = message
    place[message] = {scan.dies_at or math.huge, index}
  end
end
-- The scan whose URL expires first is enqueued first.
table.sort(messages, function(a, b)
  local one, other = place[a], place[b]
  return one[1] < other[1] or (one[1] == other[1] and one[2] < other[2])
end)
if idempotency_key ~= '' then
  local key = KEY_IDEMPOTENCY .. idempotency_key
  redis.call('HSET', key, 'id', id, 'fingerprint', fingerprint)
  redis.call('EXPIRE', key, ARGV[8])
end
return cjson.encode({id = id, fresh = true, messages = messages})
