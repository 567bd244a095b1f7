-- ARGV: work, stage, worker, lease_ms, token.
-- Gives waiting work to a worker, under a lease and with a new fence. When the answer was lost and
-- the call is repeated, the token makes the second answer equal to the first.
-- Returns {fence, attempts, retries, attempt, most_attempts}, or {refused} with the reason.
-- `attempts` counts the claims that lost their worker or still run; `attempt` counts all claims of
-- the stage.
local stage, worker, token = ARGV[2], ARGV[3], ARGV[5]

local function claim(work)
  local id, index = split(work)
  local key = key_of(work)
  local state = redis.call('HGET', key, 'state')
  if not state or has_ended(id) then return {refused = 'ended'} end
  if is_held(work) then
    if redis.call('HGET', key, 'token') ~= token then return {refused = 'held'} end
  else
    local next_state = {
      fetch = {queued = 'fetching'},
      classify = {staged = 'classifying'},
      deliver = {delivering = 'delivering'},
    }
    local to = next_state[stage][state]
    if not to then return {refused = 'not waiting for ' .. stage} end
    local queue = redis.call('HGET', key, 'queue')
    local from = queue and redis.call('ZSCORE', KEY_WAITING .. queue, work)
    if not from or tonumber(from) > now then return {refused = 'too early'} end
    if index then
      move_scan(work, to)
      local order_state, job = unpack(redis.call('HMGET', order_key(id), 'state', 'kue'))
      if order_state == 'queued' then move_order(id, 'running') end
      if job then pcall(kue_rules().attempt_begins, job, worker) end
    end
    withdraw(work)
    redis.call('HINCRBY', key, 'fence', 1)
    redis.call('HINCRBY', key, 'attempts', 1)
    redis.call('HINCRBY', key, stage .. '_attempts', 1)
    local until_ms = now + tonumber(ARGV[4])
    redis.call('HSET', key, 'token', token, 'progress', '{}')
    redis.call('HDEL', key, 'rank')
    hold(work, worker, until_ms)
    log_work(work, stage .. ' taken by ' .. worker)
  end
  local held = redis.call('HMGET', key, 'fence', 'attempts', 'retries', stage .. '_attempts')
  local most = 0
  if index then most = most_attempts_of(id) end
  return {
    most_attempts = most,
    fence = tonumber(held[1]),
    attempts = tonumber(held[2]),
    retries = tonumber(held[3] or '0'),
    attempt = tonumber(held[4]),
  }
end

local succeeded, answer = guarded(claim, ARGV[1])
if not succeeded then answer = {refused = 'its record is damaged'} end
return cjson.encode(answer)
