-- The rules of Kue's jobs: orders that came through /kue, in the words of Kue. This text is put in
-- front of lifecycle.lua, which tells it of every move of an order.
--
-- A job has a number. The hash KEY_KUE_JOB has what its client sent, and its state; the order that
-- it became has the number in its field `kue`. A job that cannot be an order has none, and is
-- failed. Numbers are texts here: their length is a part of their place in the lists.
--
-- The lifecycle calls these rules by pcall: a damaged job must not stop its order. An error that
-- tells of the server is met again by the next write.
local KUE_STATES = {
  queued = 'inactive', running = 'active', delivering = 'active', delivered = 'complete',
}
local KUE_EVENTS = 100000
local KUE_TYPES = 1000

local function kue_key(number) return KEY_KUE_JOB .. number end

-- Kue sorts jobs of one priority by this text.
local function kue_member(number) return string.format('%02d|%s', #number, number) end

-- Notes an event for whoever publishes it. `text` is what it is about, `made` how many attempts were
-- made before.
local function kue_tell(number, event, text)
  local kind, told, made = unpack(
    redis.call('HMGET', kue_key(number), 'type', 'told', 'attempts'))
  if told ~= '1' then return end
  redis.call('XADD', KEY_KUE_EVENTS, 'MAXLEN', '~', KUE_EVENTS, '*', 'job', number,
    'event', event, 'type', kind, 'text', text or '', 'made', made or '0')
end

-- Takes the job out of the lists of its state.
local function kue_unlist(number)
  local kind, state = unpack(redis.call('HMGET', kue_key(number), 'type', 'state'))
  if not state then return end
  redis.call('ZREM', KEY_KUE_JOBS_BY_STATE .. state, kue_member(number))
  redis.call('ZREM', KEY_KUE_JOBS_BY_TYPE .. state .. ':' .. kind, kue_member(number))
end

-- Gives the job a state, and its place in the lists: by priority, in `delayed` by the time of its
-- end, and in `active` by a priority below zero, all as Kue does.
local function kue_put(number, state, now)
  local key, member = kue_key(number), kue_member(number)
  kue_unlist(number)
  local kind, priority, promote_at = unpack(
    redis.call('HMGET', key, 'type', 'priority', 'promote_at'))
  local score = priority
  if state == 'active' then score = -math.abs(tonumber(priority)) end
  if state == 'delayed' then score = promote_at end
  redis.call('HSET', key, 'state', state, 'updated_at', now)
  redis.call('ZADD', KEY_KUE_JOBS, priority, member)
  redis.call('ZADD', KEY_KUE_JOBS_BY_STATE .. state, score, member)
  redis.call('ZADD', KEY_KUE_JOBS_BY_TYPE .. state .. ':' .. kind, priority, member)
end

-- Stores what the client sent (a table of hash fields).
local function kue_store(number, job, now)
  local key = kue_key(number)
  for field, value in pairs(job) do redis.call('HSET', key, field, value) end
  redis.call('HSET', key, 'created_at', now, 'promote_at', now + tonumber(job.delay or '0'),
    'attempts', 0)
  if redis.call('SCARD', KEY_KUE_TYPES) < KUE_TYPES then
    redis.call('SADD', KEY_KUE_TYPES, job.type)
  end
end

-- Stores the job of a new order.
local function kue_add(number, job, now)
  kue_store(number, job, now)
  if tonumber(job.delay or '0') > 0 then
    kue_put(number, 'delayed', now)
    return
  end
  kue_put(number, 'inactive', now)
  kue_tell(number, 'enqueue')
end

-- Called where an order has moved to the state `to`. `reason` is why, where it failed.
local function kue_follow(id, to, reason, now)
  local number = redis.call('HGET', KEY_ORDER .. id, 'kue')
  if not number then return end
  local key = kue_key(number)
  local state = KUE_STATES[to] or 'failed'
  local before, started_at = unpack(redis.call('HMGET', key, 'state', 'started_at'))
  if not before or before == state then return end
  -- its delay ended, and nobody has looked since
  if before == 'delayed' and state == 'active' then kue_tell(number, 'enqueue') end
  if state == 'active' then redis.call('HSET', key, 'started_at', now) end
  if state == 'failed' then redis.call('HSET', key, 'failed_at', now) end
  if state == 'failed' or state == 'complete' then redis.call('HINCRBY', key, 'attempts', 1) end
  if state == 'complete' and started_at then
    redis.call('HSET', key, 'duration', now - tonumber(started_at))
    redis.call('INCRBY', KEY_KUE_WORK_TIME, now - tonumber(started_at))
  end
  kue_put(number, state, now)
  if state == 'inactive' then kue_tell(number, 'enqueue') end
  if state == 'active' then kue_tell(number, 'start') end
  if state == 'complete' then kue_tell(number, 'complete') end
  if state == 'failed' then
    kue_tell(number, 'error', reason)
    kue_tell(number, 'failed', reason)
  end
end

-- Called where a scan of the order waits again after an attempt that failed.
local function kue_attempt_failed(id, reason)
  local number = redis.call('HGET', KEY_ORDER .. id, 'kue')
  if not number or redis.call('EXISTS', kue_key(number)) == 0 then return end
  redis.call('HINCRBY', kue_key(number), 'attempts', 1)
  redis.call('HSET', kue_key(number), 'again', 1)
  kue_tell(number, 'error', reason)
  kue_tell(number, 'enqueue')
  kue_tell(number, 'failed attempt', reason)
end

-- Called where a scan of a running order is taken: it may be another attempt.
local function kue_attempt_begins(id, worker)
  local number = redis.call('HGET', KEY_ORDER .. id, 'kue')
  if not number or redis.call('EXISTS', kue_key(number)) == 0 then return end
  redis.call('HSET', kue_key(number), 'workerId', worker)
  if redis.call('HDEL', kue_key(number), 'again') == 1 then kue_tell(number, 'start') end
end

-- Removes the job. `how` is 'asked' where its client asked for it.
local function kue_forget(number, how)
  kue_tell(number, 'remove', how)
  kue_unlist(number)
  redis.call('ZREM', KEY_KUE_JOBS, kue_member(number))
  redis.call('ZREM', KEY_KUE_REFUSED, number)
  redis.call('DEL', kue_key(number))
end

