-- ARGV: order id, '1' where its files are left for the cleanup, else ''.
-- Deletes all keys of an order that has ended, except its Idempotency-Key, which expires by itself.
-- A damaged record is deleted too, once its order is on the list of those that have ended.
-- Returns 'deleted', 'absent', or the state of an order that has not ended.

-- Returns when the order last changed, in ms, as far as its record can be read.
local function last_change_ms(id)
  local updated = tonumber(field_of(order_key(id), 'updated_at') or '') or now
  local is_read, line = pcall(function()
    return cjson.decode(redis.call('LINDEX', KEY_LOG .. id, -1))
  end)
  if not is_read or type(line) ~= 'table' or type(line.at) ~= 'number' then return updated end
  return math.max(updated, line.at * 1000)
end

-- Removes what the feed of changes tells of the order. The feed is read only where it may hold
-- something: most orders that are deleted have not changed since its oldest entry.
local function forget_changes(id)
  local oldest = redis.call('XRANGE', KEY_CHANGES, '-', '+', 'COUNT', 1)[1]
  if not oldest then return end
  if last_change_ms(id) + 1000 < tonumber(string.match(oldest[1], '^%d+')) then return end
  local from = '-'
  local created = tonumber(field_of(order_key(id), 'created_at') or '')
  if created then from = string.format('%.0f', created) end
  while true do
    local entries = redis.call('XRANGE', KEY_CHANGES, from, '+', 'COUNT', 500)
    if #entries == 0 then return end
    for _, entry in ipairs(entries) do
      if entry[2][2] == id then redis.call('XDEL', KEY_CHANGES, entry[1]) end
    end
    from = '(' .. entries[#entries][1]
  end
end

local id = ARGV[1]
local key = order_key(id)
local state = field_of(key, 'state')
local is_listed = redis.call('ZSCORE', KEY_ENDED, id)
if not is_listed and not state then return 'absent' end
if not is_listed and (not TRANSITIONS.order[state] or not has_ended(id)) then return state end
-- First: when the answer is lost, the files are removed all the same.
if ARGV[2] == '1' then redis.call('ZADD', KEY_DELETED, now, id) end
redis.call('ZREM', KEY_ORDERS, id)
for each in pairs(TRANSITIONS.order) do redis.call('ZREM', KEY_ORDERS_BY_STATE .. each, id) end
local algorithm = field_of(key, 'algorithm')
if algorithm then redis.call('ZREM', KEY_ORDERS_BY_ALGORITHM .. algorithm, id) end
local creator = field_of(key, 'created_by')
if creator then
  redis.call('ZREM', KEY_ORDERS_BY_CREATOR .. creator, id)
  redis.call('SREM', KEY_QUEUED_BY_CREATOR .. creator, id)
end
local job = field_of(key, 'kue')
if job then pcall(kue_rules().forget, job) end
local is_json, labels = pcall(cjson.decode, field_of(key, 'labels') or '{}')
if not is_json or type(labels) ~= 'table' then labels = {} end
for name, value in pairs(labels) do
  redis.call('ZREM', KEY_ORDERS_BY_LABEL .. name .. '=' .. tostring(value), id)
end
set_aside(id)
local scans = tonumber(field_of(key, 'scans') or '') or MAX_SCANS
for index = 0, math.min(scans, MAX_SCANS) - 1 do
  redis.call('DEL', key_of(id .. '.' .. index))
end
redis.call('ZREM', KEY_ENDED, id)
forget_changes(id)
redis.call('DEL', key, KEY_LOG .. id, KEY_ATTEMPTS .. id)
-- Whoever shows it takes it away. Nobody shows what ended so long ago that it is deleted by itself.
-- It says who placed the order, for nobody can look that up any more.
if ARGV[2] == '1' and creator then
  tell(id, 'state', 'deleted', 'created_by', creator)
elseif ARGV[2] == '1' then
  tell(id, 'state', 'deleted')
end
return 'deleted'
