-- The rules by which orders and scans change. This text is put in front of every other script.
--
-- Before it, broker/order_store/redis_client.py puts the names of the keys (KEY_DUE, ...; they are
-- described in broker/order_store/keys.py), the tables TRANSITIONS and REOPENED of
-- broker/orders/order.py, the PRIORITIES of broker/orders/fields.py, the lowest first, BLAME of each
-- code of broker/errors.py, and CONDITIONS, the first words of errors that tell of the server.
--
-- `work` is the id of something that a worker can claim: "ORDER.N" is scan N of an order, and
-- "ORDER" is the delivery of that order. Times are milliseconds of Redis' clock.
local LOG_LINES = 500
local ACTS = 20
local MAX_SCANS = 64
local CHANGES = 10000
-- Whoever creates a message also enqueues it. The scheduler does so only after this time.
local GRACE_MS = 1000

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

-- Returns the order id and the number of the scan, which is nil for a delivery.
local function split(work)
  local id, index = string.match(work, '^([^.]+)%.(%d+)$')
  if id then return id, tonumber(index) end
  return work, nil
end

local function order_key(id) return KEY_ORDER .. id end

local function key_of(work)
  local _, index = split(work)
  if index then return KEY_SCAN .. work end
  return KEY_ORDER .. work
end

-- Adds an entry to the feed of changes, which names the order and what changed of it. It holds
-- what is needed to tell the change later, when the order has gone on.
local function tell(id, ...)
  redis.call('XADD', KEY_CHANGES, 'MAXLEN', '~', CHANGES, '*', 'order', id, ...)
end

local function log(id, text)
  local key = KEY_LOG .. id
  redis.call('RPUSH', key, cjson.encode({at = now / 1000, text = text}))
  redis.call('LTRIM', key, -LOG_LINES, -1)
  tell(id, 'log', text)
end

local function log_work(work, text)
  local id, index = split(work)
  if index then text = 'scan ' .. redis.call('HGET', key_of(work), 'id') .. ': ' .. text end
  log(id, text)
end

-- Returns a problem as the order's log says it: code, detail, hint, and who can repair it.
local function why(problem)
  local text = problem.code .. ': ' .. problem.detail
  if problem.hint and problem.hint ~= '' then text = text .. '; hint: ' .. problem.hint end
  if problem.blame then text = text .. '; blame: ' .. problem.blame end
  return text
end

-- Returns a state as the order's log says it, with the reason if there is one.
local function state_and_reason(state, reason)
  if not reason or reason == '' then return state end
  return state .. ': ' .. reason
end

local function has_ended(id)
  local state = redis.call('HGET', order_key(id), 'state')
  return not state or #TRANSITIONS.order[state] == 0
end

-- `moves` is TRANSITIONS or REOPENED, `kind` is 'order' or 'scan'.
local function is_allowed(moves, kind, from, to)
  for _, allowed in ipairs(moves[kind][from] or {}) do
    if allowed == to then return true end
  end
  return false
end

local function check_move(moves, kind, from, to)
  if not is_allowed(moves, kind, from, to) then
    error('illegal move of ' .. kind .. ': ' .. from .. ' -> ' .. to)
  end
end

-- Counts the order among those of its creator that are queued, or no longer.
local function count_queued(id, state)
  local creator = redis.call('HGET', order_key(id), 'created_by')
  if not creator or creator == '' then return end
  if state == 'queued' then
    redis.call('SADD', KEY_QUEUED_BY_CREATOR .. creator, id)
  else
    redis.call('SREM', KEY_QUEUED_BY_CREATOR .. creator, id)
  end
end

-- Records that `actor` (the name of an API key, or '') asked for something.
local function record_act(id, act, actor)
  if actor == '' then return end
  local key = order_key(id)
  local acts = cjson.decode(redis.call('HGET', key, 'acts') or '[]')
  acts[#acts + 1] = {at = now / 1000, act = act, by = actor}
  if #acts > ACTS then table.remove(acts, 1) end
  redis.call('HSET', key, 'acts', cjson.encode(acts))
  log(id, act .. ' asked for by ' .. actor)
end

-- Makes a call of the order's webhook due, once for each event that the order asks for.
local function plan_notice(id, state)
  local key = order_key(id)
  local events, told = unpack(redis.call('HMGET', key, 'notify_events', 'told'))
  if not events then return end
  local event = 'order.' .. state
  told = told or ''
  if not string.find(' ' .. events .. ' ', ' ' .. event .. ' ', 1, true) then return end
  if string.find(told, ' ' .. event .. ' ', 1, true) then return end
  redis.call('HSET', key, 'told', told .. ' ' .. event .. ' ')
  redis.call('ZADD', KEY_NOTICES, now, id .. ' ' .. event)
end

local function move_order(id, to, moves, reason)
  local key = order_key(id)
  local from, job = unpack(redis.call('HMGET', key, 'state', 'kue'))
  if from == to then return end
  check_move(moves or TRANSITIONS, 'order', from, to)
  redis.call('HSET', key, 'state', to, 'updated_at', now)
  redis.call('ZREM', KEY_ORDERS_BY_STATE .. from, id)
  redis.call('ZADD', KEY_ORDERS_BY_STATE .. to, redis.call('HGET', key, 'number'), id)
  count_queued(id, to)
  -- What is delivered is not sent again without a new destination: its credentials are not kept.
  if to == 'delivered' then redis.call('HDEL', key, 'destination') end
  if #TRANSITIONS.order[to] == 0 then
    redis.call('ZADD', KEY_ENDED, now, id)
    plan_notice(id, to)
  else
    redis.call('ZREM', KEY_ENDED, id)
  end
  if job then pcall(kue_rules().follow, job, to, reason, now) end
  tell(id, 'state', to)
  log(id, state_and_reason(to, reason))
end

-- The fields that say when a scan reached these states.
local TIME_OF = {
  classifying = 'started_at', classified = 'ended_at', failed = 'ended_at', cancelled = 'ended_at',
}

local function move_scan(work, to, moves, reason)
  local key = key_of(work)
  local from = redis.call('HGET', key, 'state')
  check_move(moves or TRANSITIONS, 'scan', from, to)
  if TIME_OF[to] then
    redis.call('HSET', key, 'state', to, TIME_OF[to], now)
  else
    redis.call('HSET', key, 'state', to)
  end
  local id, index = split(work)
  redis.call('HSET', order_key(id), 'updated_at', now)
  tell(id, 'scan', index, 'state', to)
  log_work(work, state_and_reason(to, reason))
end

-- Returns the stage that this work waits for or is in.
local function stage_of(work)
  local _, index = split(work)
  if not index then return 'deliver' end
  local state = redis.call('HGET', key_of(work), 'state')
  if state == 'queued' or state == 'fetching' then return 'fetch' end
  return 'classify'
end

-- The rank of each priority, 1 to 4, and what its queues have behind their name.
local RANK, SUFFIX = {}, {}
for rank, priority in ipairs(PRIORITIES) do
  RANK[priority] = rank
  SUFFIX[rank] = '.' .. priority
end
SUFFIX[RANK.normal] = ''
local EXPIRES_SOON_MS = 15 * 60 * 1000

-- Returns how urgent the work is, 1 to 4: the priority of its order, or more because it has waited
-- long (field `rank`) or because its URL expires soon (field `dies_at`).
local function rank_of(work)
  local id = split(work)
  local rank, dies_at = unpack(redis.call('HMGET', key_of(work), 'rank', 'dies_at'))
  local priority = RANK[redis.call('HGET', order_key(id), 'priority')]
  if stage_of(work) == 'fetch' and dies_at and tonumber(dies_at) - now < EXPIRES_SOON_MS then
    return RANK.urgent
  end
  return math.max(priority, tonumber(rank or '0'))
end

-- Returns the queue of the order's algorithm. In orders that an older version stored, its field is
-- `lane`. The field `queue` is another one: the queue that a piece of work waits on.
local function classify_queue_of(id)
  local queue, lane = unpack(redis.call('HMGET', order_key(id), 'classify_queue', 'lane'))
  return queue or lane
end

-- Returns the queue for this work, priority included.
local function queue_of(work)
  local queue = stage_of(work)
  if queue == 'classify' then queue = classify_queue_of(split(work)) end
  return queue .. SUFFIX[rank_of(work)]
end

local function is_held(work)
  return tonumber(redis.call('HGET', key_of(work), 'lease_until') or '0') > 0
end

-- Makes the work neither waiting nor held, and removes it from what the scheduler checks.
local function withdraw(work)
  local key = key_of(work)
  local queue, worker = unpack(redis.call('HMGET', key, 'queue', 'worker'))
  if queue then redis.call('ZREM', KEY_WAITING .. queue, work) end
  if worker and worker ~= '' then redis.call('SREM', KEY_HELD .. worker, work) end
  redis.call('HSET', key, 'lease_until', 0, 'worker', '')
  redis.call('ZREM', KEY_DUE, work)
end

-- Returns the task message for work that waits on this queue. `attempt` counts the claims of the
-- stage from 1 and never starts again, so that no two attempts have the same task id.
local function message_for(work, queue)
  local stage = stage_of(work)
  local claimed = tonumber(redis.call('HGET', key_of(work), stage .. '_attempts') or '0')
  return {stage = stage, work = work, queue = queue, attempt = claimed + 1}
end

-- Makes the work wait on its queue, to be claimed from `delay_ms` on. Returns the task message to
-- enqueue, or nil while there is a delay: the scheduler enqueues it then.
local function wait(work, delay_ms)
  withdraw(work)
  local queue = queue_of(work)
  redis.call('HSET', key_of(work), 'queue', queue)
  redis.call('SADD', KEY_QUEUES, queue)
  redis.call('ZADD', KEY_WAITING .. queue, now + delay_ms, work)
  local expires = tonumber(redis.call('HGET', order_key(split(work)), 'expires_at'))
  local check_after_ms = GRACE_MS
  if delay_ms > 0 then check_after_ms = delay_ms end
  redis.call('ZADD', KEY_DUE, math.min(expires, now + check_after_ms), work)
  if delay_ms > 0 then return nil end
  return message_for(work, queue)
end

-- `problem` need not state its blame where that is the one of its code.
local function fail_order(id, state, problem)
  problem.blame = problem.blame or BLAME[problem.code]
  redis.call('HSET', order_key(id), 'error', cjson.encode(problem))
  move_order(id, state, nil, why(problem))
end

-- Returns the last delivery attempt at the destination that the order has now, or nil where there
-- was none.
local function last_attempt(id)
  local before = tonumber(redis.call('HGET', order_key(id), 'attempts_before') or '0')
  local key = KEY_ATTEMPTS .. id
  if redis.call('LLEN', key) <= before then return nil end
  return cjson.decode(redis.call('LINDEX', key, -1))
end

-- Returns the outcome of that attempt, or nil where there was none. Results that the destination
-- turned out to have ('found') are as good as accepted. Of results that wait for its importer
-- ('queued') it is unknown whether they will be imported.
local function last_outcome(id)
  local last = last_attempt(id)
  if not last then return nil end
  if last.outcome == 'found' then return 'accepted' end
  if last.outcome == 'queued' then return 'unknown' end
  return last.outcome
end

-- Cancels the scans that have not ended. The new fence refuses workers that still hold one.
local function stop_scans(id)
  local count = tonumber(redis.call('HGET', order_key(id), 'scans'))
  for index = 0, count - 1 do
    local work = id .. '.' .. index
    local state = redis.call('HGET', key_of(work), 'state')
    if #TRANSITIONS.scan[state] > 0 then
      redis.call('HINCRBY', key_of(work), 'fence', 1)
      move_scan(work, 'cancelled')
      withdraw(work)
    end
  end
end

-- Returns whether the order wants what succeeded delivered where other scans failed.
local function delivers_rest(id)
  return redis.call('HGET', order_key(id), 'on_scan_failure') == 'deliver_rest'
end

-- Returns whether scans of the order are encoded for a case that nobody has judged yet.
local function awaits_case(id)
  return redis.call('HGET', order_key(id), 'awaits_case') == '1'
end

-- Called when the last scan has ended: the order fails, or goes on to its delivery. Returns the
-- task message for the delivery, or nil.
local function close_order(id)
  local key = order_key(id)
  local failed = tonumber(redis.call('HGET', key, 'failed'))
  local scans = redis.call('HGET', key, 'scans')
  local is_case = awaits_case(id)
  if failed > 0 and failed < tonumber(scans) and delivers_rest(id) and not is_case then
    log(id, failed .. ' of ' .. scans .. ' scans failed; the rest is delivered')
  elseif failed > 0 then
    local hint = "each failed scan's own error says why; what the others found is kept"
    if is_case then hint = hint .. '; a case is judged by all of its scans or not at all' end
    fail_order(id, 'failed', {code = 'scan_failed', blame = redis.call('HGET', key, 'blame'),
      detail = failed .. ' of ' .. scans .. ' scans failed; nothing was delivered', hint = hint})
    withdraw(id)
    return nil
  end
  move_order(id, 'delivering')
  return wait(id, 0)
end

-- Returns whether this scan, about to be classified, is the last one that the order's case waits
-- for.
local function completes_case(id)
  if not awaits_case(id) then return false end
  local open, failed = unpack(redis.call('HMGET', order_key(id), 'open', 'failed'))
  return open == '1' and failed == '0'
end

-- Makes the scan wait to be taken once more, to judge the case: its vectors, and those of all other
-- scans, are stored. Returns the task message.
local function begin_case(work)
  redis.call('HSET', key_of(work), 'judges_case', 1, 'attempts', 0, 'retries', 0)
  move_scan(work, 'staged', nil, 'every scan is encoded; the case is judged next')
  return wait(work, 0)
end

-- Ends a scan as 'classified' or 'failed', and with the last scan the order's work on scans.
-- Returns the task message for the delivery, or nil. The last scan of a case waits once more
-- instead of being classified, and the message is for that.
local function end_scan(work, to, problem)
  local id = split(work)
  if to == 'classified' and completes_case(id) then return begin_case(work) end
  local reason = nil
  if problem then
    redis.call('HSET', key_of(work), 'error', cjson.encode(problem))
    reason = why(problem)
  end
  move_scan(work, to, nil, reason)
  withdraw(work)
  if to == 'failed' then
    redis.call('HINCRBY', order_key(id), 'failed', 1)
    redis.call('HSET', order_key(id), 'blame', problem.blame)
  end
  if redis.call('HINCRBY', order_key(id), 'open', -1) == 0 then return close_order(id) end
  return nil
end

local function hold(work, worker, until_ms)
  redis.call('HSET', key_of(work), 'worker', worker, 'lease_until', until_ms)
  redis.call('SADD', KEY_HELD .. worker, work)
  redis.call('ZADD', KEY_DUE, until_ms, work)
end

-- The state in which a scan waits again after its worker gave it back.
local STATE_BEFORE = {fetching = 'queued', classifying = 'staged'}

-- Makes held work wait again from `delay_ms` on. `reason` is for the order's log.
local function give_back(work, delay_ms, reason)
  local _, index = split(work)
  local parts = {}
  if reason ~= '' then parts[1] = reason end
  if delay_ms > 0 then parts[#parts + 1] = 'next try in ' .. math.ceil(delay_ms / 1000) .. ' s' end
  local text = table.concat(parts, '; ')
  if index then
    move_scan(work, STATE_BEFORE[redis.call('HGET', key_of(work), 'state')], nil, text)
  elseif text ~= '' then
    log(work, 'delivery: ' .. text)
  end
  return wait(work, delay_ms)
end

-- Cancels a delivery that has stopped, where the order is to be cancelled and its last attempt
-- cannot have arrived. Returns whether it did.
local function cancel_delivery(id)
  local cancel = redis.call('HGET', order_key(id), 'cancel')
  if cancel ~= '1' or last_outcome(id) == 'unknown' then return false end
  fail_order(id, 'cancelled', {code = 'cancelled',
    detail = 'cancelled while it was being delivered'})
  withdraw(id)
  return true
end

-- Returns how often each stage of the order's scans may be tried; 0 = the order does not say.
local function most_attempts_of(id)
  return tonumber(redis.call('HGET', order_key(id), 'most_attempts') or '0')
end

-- Takes work from a worker that is gone. A scan that lost `allowed` workers, or that its order does
-- not allow another attempt, fails; `seen` says what was seen of the worker's end, and
-- `is_refunded` that it was asked to stop. Returns the next task message, or nil.
local function lose(work, seen, allowed, is_refunded)
  local key = key_of(work)
  local id, index = split(work)
  local worker, attempts, retries = unpack(redis.call('HMGET', key, 'worker', 'attempts', 'retries'))
  redis.call('HINCRBY', key, 'fence', 1)
  log_work(work, 'lost by ' .. worker .. ': ' .. seen)
  local most = most_attempts_of(id)
  local tried = tonumber(attempts) + tonumber(retries or '0')
  if index and (tonumber(attempts) >= allowed or (most > 0 and tried >= most)) then
    local detail = 'the scan lost its worker ' .. attempts .. ' times, last ' .. worker
      .. ' in ' .. stage_of(work) .. ': ' .. seen
    return end_scan(work, 'failed', {code = 'worker_lost', blame = BLAME.worker_lost,
      detail = detail, hint = "the workers' logs say what ended them"})
  end
  if not index and last_outcome(id) == 'accepted' and not last_attempt(id).follow_up then
    move_order(id, 'delivered')
    withdraw(id)
    return nil
  end
  if not index and cancel_delivery(id) then return nil end
  local job = redis.call('HGET', order_key(id), 'kue')
  if job and index and not is_refunded then pcall(kue_rules().attempt_failed, job, seen) end
  return give_back(work, 0, '')
end

-- Makes an order and its scans wait for nobody, held by nobody and due for no check, whatever is
-- wrong with its record.
local function set_aside(id)
  local works = {id}
  for index = 0, MAX_SCANS - 1 do works[#works + 1] = id .. '.' .. index end
  for _, queue in ipairs(redis.call('SMEMBERS', KEY_QUEUES)) do
    redis.call('ZREM', KEY_WAITING .. queue, unpack(works))
  end
  redis.call('ZREM', KEY_DUE, unpack(works))
  for _, work in ipairs(works) do
    local worker = redis.pcall('HGET', key_of(work), 'worker')
    if type(worker) == 'string' and worker ~= '' then
      redis.call('SREM', KEY_HELD .. worker, work)
      -- the new fence refuses the worker; a damaged one fits no worker
      redis.pcall('HINCRBY', key_of(work), 'fence', 1)
      redis.call('HSET', key_of(work), 'lease_until', 0, 'worker', '')
    end
  end
end

-- Ends an order whose record is so damaged that the rules cannot be applied to it. The state of a
-- newer version is left as it is.
local function give_up(id, fault)
  local key = order_key(id)
  local state = redis.pcall('HGET', key, 'state')
  if type(state) == 'string' then
    if not TRANSITIONS.order[state] then return false end
    if #TRANSITIONS.order[state] > 0 then
      local to = 'failed'
      if state == 'delivering' then to = 'undelivered' end
      redis.call('HSET', key, 'state', to, 'updated_at', now, 'error', cjson.encode({
        code = 'record_unreadable', blame = BLAME.record_unreadable,
        detail = 'the record of the order is damaged: ' .. fault}))
      redis.call('ZADD', KEY_ORDERS_BY_STATE .. to, redis.call('ZSCORE', KEY_ORDERS, id) or 0, id)
      redis.call('ZREM', KEY_ORDERS_BY_STATE .. state, id)
      pcall(count_queued, id, to)
      local job = redis.pcall('HGET', key, 'kue')
      if type(job) == 'string' then pcall(kue_rules().follow, job, to, fault, now) end
      tell(id, 'state', to)
      pcall(log, id, to .. ': a script failed on this record, which is damaged: ' .. fault)
    end
  else
    -- there is no hash of this name any more: nothing is left but its entries in the lists
    for each in pairs(TRANSITIONS.order) do redis.call('ZREM', KEY_ORDERS_BY_STATE .. each, id) end
  end
  set_aside(id)
  redis.call('ZADD', KEY_ENDED, now, id)
  return true
end

-- Calls `change(work, ...)`. Returns true and its result. On a damaged record it returns false after
-- the order was given up, so that it stops nothing else. An error that tells of the server is raised.
local function guarded(change, work, ...)
  local succeeded, result = pcall(change, work, ...)
  if succeeded then return true, result end
  local fault = result
  if type(fault) == 'table' then fault = fault.err end
  fault = tostring(fault)
  for _, condition in ipairs(CONDITIONS) do
    if string.find(fault, condition .. ' ', 1, true) then error(result) end
  end
  -- what comes before the last colon is the place in the script, which changes with each version
  return false, give_up(split(work), string.sub(string.gsub(fault, '^.*user_script:%d+: ', ''), 1, 200))
end

-- Returns a field of a hash, or nil where the key holds something else.
local function field_of(key, name)
  local value = redis.pcall('HGET', key, name)
  if type(value) == 'string' then return value end
  return nil
end
