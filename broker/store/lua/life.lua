-- The life of orders and scans: what every other script here is built on.
-- It is put in front of each of them, with the table of broker/order.py in place of @TRANSITIONS@.
--
--   sl:order:ID     hash   one order        sl:due          zset  who must be looked at when (ms)
--   sl:scan:ID.N    hash   one scan         sl:waiting:Q    zset  work that waits on queue Q, since when (ms)
--   sl:attempts:ID  list   deliveries       sl:orders[:…]   zset  order ids by number, the indexes of lists
--   sl:log:ID       list   what happened    sl:key:K        what an Idempotency-Key stands for
--   sl:queues       set    names of queues  sl:worker:W     who is alive, gone after its time to live
local TRANSITIONS = cjson.decode('@TRANSITIONS@')
local LOG_LINES = 500
local GRACE_MS = 1000 -- the one who writes also rings; the timer rings only after this

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local function split(work)
  local id, index = string.match(work, '^([^.]+)%.(%d+)$')
  if id then return id, tonumber(index) end
  return work, nil
end

local function order_key(id) return 'sl:order:' .. id end
local function key_of(work)
  local _, index = split(work)
  return (index and 'sl:scan:' or 'sl:order:') .. work
end

local function log(id, text)
  local key = 'sl:log:' .. id
  redis.call('RPUSH', key, cjson.encode({at = now / 1000, text = text}))
  redis.call('LTRIM', key, -LOG_LINES, -1)
end

local function log_work(work, text)
  local id, index = split(work)
  log(id, index and ('scan ' .. redis.call('HGET', key_of(work), 'id') .. ': ' .. text) or text)
end

local function has_ended(id)
  local state = redis.call('HGET', order_key(id), 'state')
  return not state or #TRANSITIONS.order[state] == 0
end

local function check(kind, from, to)
  for _, allowed in ipairs(TRANSITIONS[kind][from]) do
    if allowed == to then return end
  end
  error('illegal move of ' .. kind .. ': ' .. from .. ' -> ' .. to)
end

local function move_order(id, to)
  local key = order_key(id)
  local from = redis.call('HGET', key, 'state')
  if from == to then return end
  check('order', from, to)
  redis.call('HSET', key, 'state', to, 'updated_at', now)
  redis.call('ZREM', 'sl:orders:state:' .. from, id)
  redis.call('ZADD', 'sl:orders:state:' .. to, redis.call('HGET', key, 'number'), id)
  log(id, to)
end

local function move_scan(work, to)
  local key = key_of(work)
  local from = redis.call('HGET', key, 'state')
  check('scan', from, to)
  redis.call('HSET', key, 'state', to)
  local id = split(work)
  redis.call('HSET', order_key(id), 'updated_at', now)
  log_work(work, to)
end

-- Which leg this work waits for or is on.
local function leg_of(work)
  local _, index = split(work)
  if not index then return 'deliver' end
  local state = redis.call('HGET', key_of(work), 'state')
  return (state == 'queued' or state == 'fetching') and 'fetch' or 'classify'
end

local function queue_of(work)
  local id = split(work)
  local leg = leg_of(work)
  local lane, priority = unpack(redis.call('HMGET', order_key(id), 'lane', 'priority'))
  local name = leg == 'classify' and lane or leg
  if priority == 'normal' then return name end
  return name .. '.' .. priority
end

local function is_held(work) return tonumber(redis.call('HGET', key_of(work), 'lease_until') or '0') > 0 end

-- Nobody has to look at it any more.
local function rest(work)
  local key = key_of(work)
  local queue = redis.call('HGET', key, 'queue')
  if queue then redis.call('ZREM', 'sl:waiting:' .. queue, work) end
  redis.call('HSET', key, 'lease_until', 0, 'worker', '')
  redis.call('ZREM', 'sl:due', work)
end

-- It waits to be taken, from `delay_ms` on. Returns the hint to ring, or nil while it is too early.
local function wait(work, delay_ms)
  rest(work)
  local queue = queue_of(work)
  redis.call('HSET', key_of(work), 'queue', queue)
  redis.call('SADD', 'sl:queues', queue)
  redis.call('ZADD', 'sl:waiting:' .. queue, now + delay_ms, work)
  redis.call('ZADD', 'sl:due', now + (delay_ms > 0 and delay_ms or GRACE_MS), work)
  if delay_ms > 0 then return nil end
  return {leg = leg_of(work), work = work, queue = queue}
end

local function fail_order(id, state, problem)
  redis.call('HSET', order_key(id), 'error', cjson.encode(problem))
  move_order(id, state)
end

-- Ends the scans that have not ended; a worker that still holds one is refused from now on.
local function stop_scans(id)
  local count = tonumber(redis.call('HGET', order_key(id), 'scans'))
  for index = 0, count - 1 do
    local work = id .. '.' .. index
    local state = redis.call('HGET', key_of(work), 'state')
    if #TRANSITIONS.scan[state] > 0 then
      redis.call('HINCRBY', key_of(work), 'fence', 1)
      move_scan(work, 'cancelled')
      rest(work)
    end
  end
end

-- The last scan has ended: the order goes on to its delivery or to its end. Returns a hint or nil.
local function close_order(id)
  local key = order_key(id)
  local failed = tonumber(redis.call('HGET', key, 'failed'))
  if failed > 0 then
    local scans = redis.call('HGET', key, 'scans')
    fail_order(id, 'failed', {code = 'scan_failed', blame = redis.call('HGET', key, 'blame'),
      detail = failed .. ' of ' .. scans .. ' scans failed; nothing was delivered',
      hint = "each failed scan's own error says why; what the others found is kept"})
    rest(id)
    return nil
  end
  move_order(id, 'delivering')
  return wait(id, 0)
end

-- A scan reached an end of its own. Returns a hint or nil.
local function end_scan(work, to, problem)
  local id = split(work)
  if problem then redis.call('HSET', key_of(work), 'error', cjson.encode(problem)) end
  move_scan(work, to)
  rest(work)
  if to == 'failed' then
    redis.call('HINCRBY', order_key(id), 'failed', 1)
    redis.call('HSET', order_key(id), 'blame', problem.blame)
  end
  if redis.call('HINCRBY', order_key(id), 'open', -1) == 0 then return close_order(id) end
  return nil
end

-- The state a piece of work waits in, when whoever had it gives it back.
local BACK = {fetching = 'queued', classifying = 'staged'}

local function give_back(work, delay_ms)
  local _, index = split(work)
  if index then move_scan(work, BACK[redis.call('HGET', key_of(work), 'state')]) end
  return wait(work, delay_ms)
end
