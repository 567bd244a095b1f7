-- The rules of Kue's jobs: orders that came through /kue, in the words of Kue. This text is put in
-- front of lifecycle.lua, which tells it of every move of an order that is a job.
--
-- A job has a number. The hash KEY_KUE_JOB has what its client sent, and its state; the order that
-- it became has the number in its field `kue`. A job that cannot be an order has none, and is
-- failed. Numbers are texts here: their length is a part of their place in the lists.
--
-- Returns the rules by name. They are made where they are asked for: the text of all rules runs with
-- every call of a script, and most orders are no jobs. The lifecycle calls them by pcall, so that a
-- damaged job stops no order; an error that tells of the server is met again by the next write.
local function kue_rules()
  local STATES = {
    queued = 'inactive', running = 'active', delivering = 'active', delivered = 'complete',
  }
  local MOST_EVENTS = 100000
  local MOST_TYPES = 1000
  local rules = {}

  function rules.key_of(number) return KEY_KUE_JOB .. number end

  -- Kue sorts jobs of one priority by this text.
  local function member_of(number) return string.format('%02d|%s', #number, number) end

  -- Notes an event for whoever publishes it. `text` is what it is about.
  local function tell(number, event, text)
    local kind, told, made = unpack(
      redis.call('HMGET', rules.key_of(number), 'type', 'told', 'attempts'))
    if told ~= '1' then return end
    redis.call('XADD', KEY_KUE_EVENTS, 'MAXLEN', '~', MOST_EVENTS, '*', 'job', number,
      'event', event, 'type', kind, 'text', text or '', 'made', made or '0')
  end

  -- Takes the job out of the lists of its state.
  local function unlist(number)
    local kind, state = unpack(redis.call('HMGET', rules.key_of(number), 'type', 'state'))
    if not state then return end
    redis.call('ZREM', KEY_KUE_JOBS_BY_STATE .. state, member_of(number))
    redis.call('ZREM', KEY_KUE_JOBS_BY_TYPE .. state .. ':' .. kind, member_of(number))
  end

  -- Gives the job a state, and its place in the lists: by priority, in `delayed` by the time of its
  -- end, and in `active` by a priority below zero, all as Kue does.
  function rules.put(number, state, now)
    local key = rules.key_of(number)
    local member = member_of(number)
    unlist(number)
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

  -- Stores what the client sent (a table of hash fields), without a state.
  local function store(number, job, now)
    local key = rules.key_of(number)
    for field, value in pairs(job) do redis.call('HSET', key, field, value) end
    redis.call('HSET', key, 'created_at', now, 'promote_at', now + tonumber(job.delay or '0'),
      'attempts', 0)
    if redis.call('SCARD', KEY_KUE_TYPES) < MOST_TYPES then
      redis.call('SADD', KEY_KUE_TYPES, job.type)
    end
  end

  -- Makes the job `inactive`: its delay ended, or it has none.
  function rules.enqueue(number, now)
    rules.put(number, 'inactive', now)
    tell(number, 'enqueue')
  end

  -- Stores the job of a new order.
  function rules.add(number, job, now)
    store(number, job, now)
    if tonumber(job.delay or '0') > 0 then
      rules.put(number, 'delayed', now)
    else
      rules.enqueue(number, now)
    end
  end

  -- Makes the job `failed`, and says why.
  local function fail(number, reason, now)
    redis.call('HSET', rules.key_of(number), 'failed_at', now)
    redis.call('HINCRBY', rules.key_of(number), 'attempts', 1)
    rules.put(number, 'failed', now)
    tell(number, 'error', reason)
    tell(number, 'failed', reason)
  end

  -- Stores a job that cannot be an order.
  function rules.refuse(number, job, reason, now)
    store(number, job, now)
    redis.call('HSET', rules.key_of(number), 'error', reason)
    fail(number, reason, now)
  end

  -- Makes the job `complete`, and counts the time that it took.
  local function complete(number, now)
    local key = rules.key_of(number)
    local started_at = redis.call('HGET', key, 'started_at')
    if started_at then
      redis.call('HSET', key, 'duration', now - tonumber(started_at))
      redis.call('INCRBY', KEY_KUE_WORK_TIME, now - tonumber(started_at))
    end
    redis.call('HINCRBY', key, 'attempts', 1)
    rules.put(number, 'complete', now)
    tell(number, 'complete')
  end

  -- Called where the order of the job has moved to the state `to`; `reason` is why it failed.
  function rules.follow(number, to, reason, now)
    local key = rules.key_of(number)
    local state = STATES[to] or 'failed'
    local before = redis.call('HGET', key, 'state')
    if not before or before == state then return end
    if state == 'inactive' then rules.enqueue(number, now) end
    if state == 'complete' then complete(number, now) end
    if state == 'failed' then fail(number, reason, now) end
    if state == 'active' then
      -- its delay ended, and nobody has looked since
      if before == 'delayed' then tell(number, 'enqueue') end
      redis.call('HSET', key, 'started_at', now)
      rules.put(number, 'active', now)
      tell(number, 'start')
    end
  end

  -- Called where a scan of the order waits again after an attempt that failed.
  function rules.attempt_failed(number, reason)
    local key = rules.key_of(number)
    if redis.call('EXISTS', key) == 0 then return end
    redis.call('HINCRBY', key, 'attempts', 1)
    redis.call('HSET', key, 'again', 1)
    tell(number, 'error', reason)
    tell(number, 'enqueue')
    tell(number, 'failed attempt', reason)
  end

  -- Called where a scan of the order is taken: it may be another attempt.
  function rules.attempt_begins(number, worker)
    local key = rules.key_of(number)
    if redis.call('EXISTS', key) == 0 then return end
    redis.call('HSET', key, 'workerId', worker)
    if redis.call('HDEL', key, 'again') == 1 then tell(number, 'start') end
  end

  -- Removes the job. `how` is 'asked' where its client asked for it.
  function rules.forget(number, how)
    tell(number, 'remove', how)
    unlist(number)
    redis.call('ZREM', KEY_KUE_JOBS, member_of(number))
    redis.call('ZREM', KEY_KUE_REFUSED, number)
    redis.call('DEL', rules.key_of(number))
  end

  return rules
end

