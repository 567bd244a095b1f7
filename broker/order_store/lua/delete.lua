-- ARGV: order id, '1' where its files are left for the cleanup, else ''.
-- Deletes all keys of an order that has ended, except its Idempotency-Key, which expires by itself.
-- A damaged record is deleted too, once its order is on the list of those that have ended.
-- Returns 'deleted', 'absent', or the state of an order that has not ended.
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
redis.call('DEL', key, KEY_LOG .. id, KEY_ATTEMPTS .. id)
return 'deleted'
