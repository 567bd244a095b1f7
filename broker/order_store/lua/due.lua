-- ARGV: limit, repeat_ms, attempts allowed, lengths of the queues in Celery's database (JSON),
--       age_ms.
-- Run by the scheduler: checks what is due and changes what time has changed. Leases end, orders
-- expire, and lost messages are repeated. Several couriers may run it at once: what one of them has
-- checked is no longer due for the others.
-- Returns {messages} to enqueue.
local repeat_ms, allowed = tonumber(ARGV[2]), tonumber(ARGV[3])
local lengths, age_ms = cjson.decode(ARGV[4]), tonumber(ARGV[5])
local AFTER_FAULT_MS = 60000
local messages = {}

local function expire(id)
  if redis.call('HGET', order_key(id), 'state') == 'delivering' then
    local last = last_attempt(id)
    local reason = 'no attempt was made'
    if last then reason = last.error end
    redis.call('HINCRBY', order_key(id), 'fence', 1)
    if last_outcome(id) == 'accepted' then
      move_order(id, 'delivered')
    else
      local code = 'destination_unreachable'
      if last_outcome(id) == 'unknown' then code = 'delivery_unknown' end
      if last_outcome(id) == 'untrue' then code = 'destination_answer_untrue' end
      fail_order(id, 'undelivered', {code = code,
        hint = 'the results are kept',
        detail = 'the order expired before its destination confirmed the results; last attempt: '
          .. reason})
    end
  else
    stop_scans(id)
    fail_order(id, 'expired', {code = 'expired',
      detail = 'the order expired before it was done',
      hint = 'order again with a later expires_at'})
  end
  withdraw(id)
end

-- Moves work that has waited long to the next higher queue, at most to `high`, so that no priority
-- starves. Work whose URL expires soon becomes urgent. Its old message then finds nothing to claim.
local function promote(work)
  local queue = redis.call('HGET', key_of(work), 'queue')
  local since = tonumber(redis.call('ZSCORE', KEY_WAITING .. queue, work))
  local rank = rank_of(work)
  if rank < RANK.high and now - since >= age_ms * rank then
    redis.call('HSET', key_of(work), 'rank', rank + 1)
  end
  if queue_of(work) == queue then return end
  wait(work, 0)
  redis.call('ZADD', KEY_WAITING .. redis.call('HGET', key_of(work), 'queue'), since, work)
end

-- Returns the message for waiting work once more, where messages of its queue were lost: each piece
-- of waiting work has one message there, so a queue with fewer messages than work has lost some.
local function repeat_message(work)
  promote(work)
  local queue = redis.call('HGET', key_of(work), 'queue')
  local waiting = redis.call('ZCOUNT', KEY_WAITING .. queue, '-inf', now)
  local length = lengths[queue] or 0
  -- A long queue is checked less often, so that the checks cost the same whatever its length.
  local factor = 1 + math.min(59, math.floor(waiting / 1000))
  redis.call('ZADD', KEY_DUE, now + repeat_ms * factor, work)
  if length >= waiting then return nil end
  lengths[queue] = length + 1
  return message_for(work, queue)
end

local function check(work)
  local id, index = split(work)
  local state, expires = unpack(redis.call('HMGET', order_key(id), 'state', 'expires_at'))
  if has_ended(id) then
    redis.call('ZREM', KEY_DUE, work)
  elseif tonumber(expires) <= now and not (state == 'delivering' and is_held(id)) then
    expire(id)
  elseif is_held(work) then
    return lose(work, 'its lease ran out', allowed)
  elseif not index and state ~= 'delivering' then
    redis.call('ZADD', KEY_DUE, expires, work)
  else
    local queue = redis.call('HGET', key_of(work), 'queue')
    local from = tonumber(redis.call('ZSCORE', KEY_WAITING .. queue, work))
    if from <= now then return repeat_message(work) end
    -- it waits for the end of its delay
    redis.call('ZADD', KEY_DUE, math.min(from, expires), work)
  end
end

for _, work in ipairs(redis.call('ZRANGEBYSCORE', KEY_DUE, '-inf', now, 'LIMIT', 0, ARGV[1])) do
  -- an order that was checked before may have ended this one
  if redis.call('ZSCORE', KEY_DUE, work) then
    -- a record that is damaged must not stop the scheduler for all others
    local succeeded, result = guarded(check, work)
    if succeeded and result then messages[#messages + 1] = result end
    -- of a newer version: this one cannot tell what is due
    if not succeeded and not result then redis.call('ZADD', KEY_DUE, now + AFTER_FAULT_MS, work) end
  end
end
return cjson.encode({messages = messages})
