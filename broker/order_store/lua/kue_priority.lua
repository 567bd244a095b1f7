-- ARGV: number of a job of Kue, its new priority in Kue's numbers, and that of the order in ours.
-- Changes the priority of the job, and of its order while its scans wait.
-- Returns {messages} to enqueue, or {absent} where there is no such job.
local number, priority = ARGV[1], ARGV[3]
local kue = kue_rules()
local key = kue.key_of(number)
local state, id = unpack(redis.call('HMGET', key, 'state', 'order'))
if not state then return cjson.encode({absent = true}) end
redis.call('HSET', key, 'priority', ARGV[2])
kue.put(number, state, now)
local messages = {}

-- Moves waiting work to the queue of the priority that its order has now.
local function queue_again(work)
  local queue = redis.call('HGET', key_of(work), 'queue')
  local from = queue and redis.call('ZSCORE', KEY_WAITING .. queue, work)
  if not from or queue_of(work) == queue then return nil end
  return wait(work, math.max(0, tonumber(from) - now))
end

if id and redis.call('HGET', order_key(id), 'state') and not has_ended(id) then
  redis.call('HSET', order_key(id), 'priority', priority)
  for index = 0, tonumber(redis.call('HGET', order_key(id), 'scans')) - 1 do
    messages[#messages + 1] = queue_again(id .. '.' .. index)
  end
  messages[#messages + 1] = queue_again(id)
end
return cjson.encode({messages = messages})
