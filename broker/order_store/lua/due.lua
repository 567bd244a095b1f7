-- ARGV: limit, hint_again_ms, attempts allowed, lengths of the queues (JSON), age_ms. The timer: looks at what is due, moves it
-- forward and answers the hints to ring. Several couriers may run it at once; each due item is seen by one.
local again_ms, allowed, lengths, age_ms = tonumber(ARGV[2]), tonumber(ARGV[3]), cjson.decode(ARGV[4]), tonumber(ARGV[5])
local STUMBLED_MS = 60000
local hints = {}

local function expire(id)
  if redis.call('HGET', order_key(id), 'state') == 'delivering' then
    local last = redis.call('LINDEX', 'sl:attempts:' .. id, -1)
    local said = last and cjson.decode(last).error or 'no attempt was made'
    redis.call('HINCRBY', order_key(id), 'fence', 1)
    if last_outcome(id) == 'accepted' then
      move_order(id, 'delivered')
    else
      local code = last_outcome(id) == 'unknown' and 'delivery_unknown' or 'destination_unreachable'
      fail_order(id, 'undelivered', {code = code, blame = 'destination', hint = 'the results are kept',
        detail = 'the order expired before its destination confirmed the results; last attempt: ' .. said})
    end
  else
    stop_scans(id)
    fail_order(id, 'expired', {code = 'expired', detail = 'the order expired before it was done', blame = 'input',
      hint = 'order again with a later expires_at'})
  end
  rest(id)
end

-- Work that waited long goes up one queue, at most to `high`, so that nothing starves; a URL that by now dies soon makes
-- it urgent. Its old hint will find nothing.
local function hurry(work)
  local queue = redis.call('HGET', key_of(work), 'queue')
  local since = tonumber(redis.call('ZSCORE', 'sl:waiting:' .. queue, work))
  local rank = rank_of(work)
  if rank < PRIORITIES.high and now - since >= age_ms * rank then redis.call('HSET', key_of(work), 'rank', rank + 1) end
  if queue_of(work) == queue then return end
  wait(work, 0)
  redis.call('ZADD', 'sl:waiting:' .. redis.call('HGET', key_of(work), 'queue'), since, work)
end

-- One hint a waiting piece of work stays on its queue. A queue that holds fewer hints than work has lost some.
local function ring_again(work)
  hurry(work)
  local queue = redis.call('HGET', key_of(work), 'queue')
  local waiting = redis.call('ZCOUNT', 'sl:waiting:' .. queue, '-inf', now)
  local length = lengths[queue] or 0
  -- a long queue is looked at less often, so that looking costs the same whatever its length
  redis.call('ZADD', 'sl:due', now + again_ms * (1 + math.min(59, math.floor(waiting / 1000))), work)
  if length >= waiting then return nil end
  lengths[queue] = length + 1
  return {stage = stage_of(work), work = work, queue = queue}
end

local function look(work)
  local id, index = split(work)
  local state, expires = unpack(redis.call('HMGET', order_key(id), 'state', 'expires_at'))
  if has_ended(id) then
    redis.call('ZREM', 'sl:due', work)
  elseif tonumber(expires) <= now and not (state == 'delivering' and is_held(id)) then
    expire(id)
  elseif is_held(work) then
    return lose(work, 'its lease ran out', allowed)
  elseif not index and state ~= 'delivering' then
    redis.call('ZADD', 'sl:due', expires, work)
  else
    local from = tonumber(redis.call('ZSCORE', 'sl:waiting:' .. redis.call('HGET', key_of(work), 'queue'), work))
    if from <= now then return ring_again(work) end
    redis.call('ZADD', 'sl:due', math.min(from, expires), work) -- it only waits for its delay
  end
end

for _, work in ipairs(redis.call('ZRANGEBYSCORE', 'sl:due', '-inf', now, 'LIMIT', 0, ARGV[1])) do
  -- an order looked at before it may have ended this one
  if redis.call('ZSCORE', 'sl:due', work) then
    -- a record that a fault broke must not stop the timer for all others
    local fine, hint = pcall(look, work)
    if not fine then
      redis.call('ZADD', 'sl:due', now + STUMBLED_MS, work)
      log(split(work), 'the timer stumbled: ' .. (type(hint) == 'table' and hint.err or tostring(hint)))
    elseif hint then
      hints[#hints + 1] = hint
    end
  end
end
return cjson.encode({hints = hints})
