-- ARGV: worker, what was seen of its end, attempts allowed, work or '' (all that it holds), refund
--       ('1': the worker was asked to stop, so this does not count as an attempt).
-- Takes work from a worker that is known to be gone, without waiting for the end of the lease.
-- Returns {messages} to enqueue.
local worker, seen, allowed, refund = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[5] == '1'
local works = {ARGV[4]}
if ARGV[4] == '' then works = redis.call('SMEMBERS', KEY_HELD .. worker) end
local messages = {}

local function take_back(work)
  if not is_held(work) or redis.call('HGET', key_of(work), 'worker') ~= worker then return nil end
  if refund then redis.call('HINCRBY', key_of(work), 'attempts', -1) end
  return lose(work, seen, allowed, refund)
end

for _, work in ipairs(works) do
  local succeeded, message = guarded(take_back, work)
  if succeeded and message then messages[#messages + 1] = message end
end
return cjson.encode({messages = messages})
