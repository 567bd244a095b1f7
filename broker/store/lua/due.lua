-- ARGV: limit, hint_again_ms, attempts allowed, lengths of the queues (JSON). The timer: looks at what is due, moves it
-- forward and answers the hints to ring. Several couriers may run it at once; each due item is seen by one.
local again_ms, allowed, lengths = tonumber(ARGV[2]), tonumber(ARGV[3]), cjson.decode(ARGV[4])
local hints = {}

local function expire(id)
  if redis.call('HGET', order_key(id), 'state') == 'delivering' then
    local last = redis.call('LINDEX', 'sl:attempts:' .. id, -1)
    local said = last and cjson.decode(last).error or 'no attempt was made'
    redis.call('HINCRBY', order_key(id), 'fence', 1)
    fail_order(id, 'undelivered', {code = 'destination_unreachable', blame = 'destination',
      detail = 'the order expired before its destination took the results; last answer: ' .. said,
      hint = 'the results are kept'})
  else
    stop_scans(id)
    fail_order(id, 'expired', {code = 'expired', detail = 'the order expired before it was done', blame = 'input',
      hint = 'order again with a later expires_at'})
  end
  rest(id)
end

local function lease_ran_out(work, index)
  local key = key_of(work)
  local worker, attempts = unpack(redis.call('HMGET', key, 'worker', 'attempts'))
  redis.call('HINCRBY', key, 'fence', 1)
  log_work(work, 'lost by ' .. worker .. ': its lease ran out')
  if index and tonumber(attempts) >= allowed then
    return end_scan(work, 'failed', {code = 'worker_lost', blame = 'algorithm',
      detail = 'the scan lost its worker ' .. attempts .. ' times, last ' .. worker .. ' in ' .. leg_of(work),
      hint = "the workers' logs say what ended them"})
  end
  return give_back(work, 0)
end

-- One hint a waiting piece of work stays on its queue. A queue that holds fewer hints than work has lost some.
local function ring_again(work)
  local queue = redis.call('HGET', key_of(work), 'queue')
  local waiting = redis.call('ZCOUNT', 'sl:waiting:' .. queue, '-inf', now)
  local length = lengths[queue] or 0
  -- a long queue is looked at less often, so that looking costs the same whatever its length
  redis.call('ZADD', 'sl:due', now + again_ms * (1 + math.min(59, math.floor(waiting / 1000))), work)
  if length >= waiting then return nil end
  lengths[queue] = length + 1
  return {leg = leg_of(work), work = work, queue = queue}
end

local function look(work)
  local id, index = split(work)
  local state, expires = unpack(redis.call('HMGET', order_key(id), 'state', 'expires_at'))
  if has_ended(id) then
    redis.call('ZREM', 'sl:due', work)
  elseif tonumber(expires) <= now and not (state == 'delivering' and is_held(id)) then
    expire(id)
  elseif is_held(work) then
    return lease_ran_out(work, index)
  elseif not index and state ~= 'delivering' then
    redis.call('ZADD', 'sl:due', expires, work)
  else
    return ring_again(work)
  end
end

for _, work in ipairs(redis.call('ZRANGEBYSCORE', 'sl:due', '-inf', now, 'LIMIT', 0, ARGV[1])) do
  -- an order looked at before it may have ended this one
  if redis.call('ZSCORE', 'sl:due', work) then
    local hint = look(work)
    if hint then hints[#hints + 1] = hint end
  end
end
return cjson.encode({hints = hints})
