-- ARGV: work, limit. Of the work that waits on the same queue, longest waiting first, whose URL dies first. Writes nothing.
local work = ARGV[1]
local queue = redis.call('HGET', key_of(work), 'queue')
if not queue then return work end
local waiting = redis.call('ZRANGEBYSCORE', 'sl:waiting:' .. queue, '-inf', now, 'LIMIT', 0, ARGV[2])
local soonest, dies_at = nil, math.huge
for _, other in ipairs(waiting) do
  local other_dies_at = tonumber(redis.call('HGET', key_of(other), 'dies_at') or '') or math.huge
  if other_dies_at < dies_at then soonest, dies_at = other, other_dies_at end
end
if soonest then return soonest end
return redis.call('ZSCORE', 'sl:waiting:' .. queue, work) and work or waiting[1] or work
