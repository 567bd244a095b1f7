-- ARGV: order id, to ('queued': do the scans again that are not classified, or judge the case again
--       whose scans are all encoded; 'delivering': deliver the stored results again), life_ms,
--       token, actor, new destination (JSON of hash fields) or ''.
-- Makes an order that has ended go on, at a caller's request. When the answer was lost and the call
-- is repeated, the token tells that this very request was served.
-- Returns {messages} to enqueue, or {refused} with the state that does not allow it.
local id, to = ARGV[1], ARGV[2]
local key = order_key(id)
local state = redis.call('HGET', key, 'state')
if not state then return cjson.encode({refused = 'absent'}) end
-- the scheduler sends the messages whose answer was lost
if redis.call('HGET', key, 'reopened') == ARGV[4] then return cjson.encode({messages = {}}) end
local messages, works, failed = {}, {}, 0
local scans = tonumber(redis.call('HGET', key, 'scans'))
for index = 0, scans - 1 do
  local work = id .. '.' .. index
  local scan_state = redis.call('HGET', key_of(work), 'state')
  if scan_state ~= 'classified' then works[#works + 1] = work end
  if scan_state == 'failed' then failed = failed + 1 end
end
-- The credentials of a delivered order are gone, so it is delivered again to a new destination only.
if state == 'delivered' and ARGV[6] == '' then return cjson.encode({refused = state}) end
-- A delivery needs all scans classified, or, where the order wants the rest delivered, one of them
-- and all others failed. Doing scans again needs at least one that is not classified.
local is_possible = #works > 0
if to == 'delivering' then
  is_possible = #works == 0 or (delivers_rest(id) and failed == #works and failed < scans)
  works = {}
end
if not is_possible or not is_allowed(REOPENED, 'order', state, to) then
  return cjson.encode({refused = state})
end
local expires = now + tonumber(ARGV[3])
redis.call('HDEL', key, 'error', 'retries', 'blame', 'rank')
redis.call('HSET', key, 'reopened', ARGV[4], 'cancel', 0, 'failed', 0, 'open', #works, 'resend', 1,
  'expires_at', expires)
local act = 'retry'
if to == 'delivering' then act = 'deliver' end
record_act(id, act, ARGV[5])
if ARGV[6] ~= '' then
  for field, value in pairs(cjson.decode(ARGV[6])) do redis.call('HSET', key, field, value) end
  -- what was made and tried for the old destination says nothing of the new one
  redis.call('HDEL', key, PAYLOAD_FIELD)
  redis.call('HSET', key, 'attempts_before', redis.call('LLEN', KEY_ATTEMPTS .. id), 'resend', 0)
end
move_order(id, to, REOPENED)
for _, work in ipairs(works) do
  -- all scans of a case are encoded once one of them is to judge it
  local scan_to = 'queued'
  if redis.call('HGET', key_of(work), 'judges_case') == '1' then scan_to = 'staged' end
  move_scan(work, scan_to, REOPENED)
  redis.call('HDEL', key_of(work), 'error', 'retries', 'rank', 'started_at', 'ended_at')
  redis.call('HSET', key_of(work), 'attempts', 0, 'progress', '{}')
  messages[#messages + 1] = wait(work, 0)
end
if to == 'delivering' then
  messages[1] = wait(id, 0)
else
  redis.call('ZADD', KEY_DUE, expires, id)
end
return cjson.encode({messages = messages})
