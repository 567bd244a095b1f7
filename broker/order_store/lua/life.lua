-- The life of orders and scans: what every other script here is built on.
-- It is put in front of each of them, with the tables of broker/orders/order.py in place of @TRANSITIONS@ and @REOPENED@.
--
--   sl:order:ID     hash   one order        sl:due          zset  who must be looked at when (ms)
--   sl:scan:ID.N    hash   one scan         sl:waiting:Q    zset  work that waits on queue Q, since when (ms)
--   sl:attempts:ID  list   deliveries       sl:orders[:…]   zset  order ids by number, the indexes of lists
--   sl:log:ID       list   what happened    sl:key:K        what an Idempotency-Key stands for
--   sl:queues       set    names of queues  sl:worker:W     who is alive, gone after its time to live
--   sl:ended        zset   ends, since when  sl:held:W      set   work that worker W holds
local TRANSITIONS = cjson.decode('@TRANSITIONS@')
local REOPENED = cjson.decode('@REOPENED@')
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

local function may(moves, kind, from, to)
  for _, allowed in ipairs(moves[kind][from] or {}) do
    if allowed == to then return true end
  end
  return false
end

local function check(moves, kind, from, to)
  if not may(moves, kind, from, to) then error('illegal move of ' .. kind .. ': ' .. from .. ' -> ' .. to) end
end

local function move_order(id, to, moves)
  local key = order_key(id)
  local from = redis.call('HGET', key, 'state')
  if from == to then return end
  check(moves or TRANSITIONS, 'order', from, to)
  redis.call('HSET', key, 'state', to, 'updated_at', now)
  redis.call('ZREM', 'sl:orders:state:' .. from, id)
  redis.call('ZADD', 'sl:orders:state:' .. to, redis.call('HGET', key, 'number'), id)
  if #TRANSITIONS.order[to] == 0 then
    redis.call('ZADD', 'sl:ended', now, id)
  else
    redis.call('ZREM', 'sl:ended', id)
  end
  log(id, to)
end

local function move_scan(work, to, moves)
  local key = key_of(work)
  local from = redis.call('HGET', key, 'state')
  check(moves or TRANSITIONS, 'scan', from, to)
  redis.call('HSET', key, 'state', to)
  local id = split(work)
  redis.call('HSET', order_key(id), 'updated_at', now)
  log_work(work, to)
end

-- Which stage this work waits for or is on.
local function stage_of(work)
  local _, index = split(work)
  if not index then return 'deliver' end
  local state = redis.call('HGET', key_of(work), 'state')
  return (state == 'queued' or state == 'fetching') and 'fetch' or 'classify'
end

local PRIORITIES = {low = 1, normal = 2, high = 3, urgent = 4}
local SUFFIX = {'.low', '', '.high', '.urgent'}
local DIES_SOON_MS = 15 * 60 * 1000

-- How urgent work is: its order's priority, or more because it waited long (`rank`) or its URL dies soon.
local function rank_of(work)
  local id = split(work)
  local rank, dies_at = unpack(redis.call('HMGET', key_of(work), 'rank', 'dies_at'))
  local priority = PRIORITIES[redis.call('HGET', order_key(id), 'priority')]
  if stage_of(work) == 'fetch' and dies_at and tonumber(dies_at) - now < DIES_SOON_MS then return 4 end
  return math.max(priority, tonumber(rank or '0'))
end

-- The queue of the order's algorithm. Its field is `lane` in orders that an older version stored.
-- (The field `queue` is another one: what the work waits on now, with its priority.)
local function classify_queue_of(id)
  return redis.call('HGET', order_key(id), 'classify_queue') or redis.call('HGET', order_key(id), 'lane')
end

local function queue_of(work)
  local stage = stage_of(work)
  local base = stage
  if stage == 'classify' then base = classify_queue_of(split(work)) end
  return base .. SUFFIX[rank_of(work)]
end

local function is_held(work) return tonumber(redis.call('HGET', key_of(work), 'lease_until') or '0') > 0 end

-- Nobody has to look at it any more.
local function rest(work)
  local key = key_of(work)
  local queue, worker = unpack(redis.call('HMGET', key, 'queue', 'worker'))
  if queue then redis.call('ZREM', 'sl:waiting:' .. queue, work) end
  if worker and worker ~= '' then redis.call('SREM', 'sl:held:' .. worker, work) end
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
  local expires = tonumber(redis.call('HGET', order_key(split(work)), 'expires_at'))
  redis.call('ZADD', 'sl:due', math.min(expires, now + (delay_ms > 0 and delay_ms or GRACE_MS)), work)
  if delay_ms > 0 then return nil end
  return {stage = stage_of(work), work = work, queue = queue}
end

local function fail_order(id, state, problem)
  redis.call('HSET', order_key(id), 'error', cjson.encode(problem))
  move_order(id, state)
end

-- What the last delivery attempt came to, or nil where there was none.
local function last_outcome(id)
  local last = redis.call('LINDEX', 'sl:attempts:' .. id, -1)
  return last and cjson.decode(last).outcome or nil
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

local function hold(work, worker, until_ms)
  redis.call('HSET', key_of(work), 'worker', worker, 'lease_until', until_ms)
  redis.call('SADD', 'sl:held:' .. worker, work)
  redis.call('ZADD', 'sl:due', until_ms, work)
end

-- The state a piece of work waits in, when whoever had it gives it back.
local BACK = {fetching = 'queued', classifying = 'staged'}

local function give_back(work, delay_ms)
  local _, index = split(work)
  if index then move_scan(work, BACK[redis.call('HGET', key_of(work), 'state')]) end
  return wait(work, delay_ms)
end

-- A delivery stopped that somebody wanted cancelled: it ends here, unless its last attempt may have arrived.
local function cancel_delivery(id)
  if redis.call('HGET', order_key(id), 'cancel') ~= '1' or last_outcome(id) == 'unknown' then return false end
  fail_order(id, 'cancelled', {code = 'cancelled', detail = 'cancelled while it was being delivered', blame = 'input'})
  rest(id)
  return true
end

-- Whoever held it is gone. A scan that was lost too often fails with what was seen. Returns a hint or nil.
local function lose(work, seen, allowed)
  local key = key_of(work)
  local id, index = split(work)
  local worker, attempts = unpack(redis.call('HMGET', key, 'worker', 'attempts'))
  redis.call('HINCRBY', key, 'fence', 1)
  log_work(work, 'lost by ' .. worker .. ': ' .. seen)
  if index and tonumber(attempts) >= allowed then
    return end_scan(work, 'failed', {code = 'worker_lost', blame = 'algorithm',
      detail = 'the scan lost its worker ' .. attempts .. ' times, last ' .. worker .. ' in ' .. stage_of(work) .. ': ' .. seen,
      hint = "the workers' logs say what ended them"})
  end
  if not index and last_outcome(id) == 'accepted' then
    move_order(id, 'delivered')
    rest(id)
    return nil
  end
  if not index and cancel_delivery(id) then return nil end
  return give_back(work, 0)
end
