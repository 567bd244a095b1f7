-- ARGV: work, limit.
-- Returns, of the `limit` longest waiting pieces of work on the same queue, the one whose URL
-- expires first; without such URLs `work` itself, or, where it no longer waits, the longest
-- waiting one. Writes nothing.
local work = ARGV[1]
local queue = field_of(key_of(work), 'queue')
if not queue then return work end
local waiting = redis.call('ZRANGEBYSCORE', KEY_WAITING .. queue, '-inf', now, 'LIMIT', 0, ARGV[2])
local first, first_dies_at = nil, math.huge
for _, other in ipairs(waiting) do
  local dies_at = tonumber(field_of(key_of(other), 'dies_at') or '') or math.huge
  if dies_at < first_dies_at then
    first = other
    first_dies_at = dies_at
  end
end
if first then return first end
if redis.call('ZSCORE', KEY_WAITING .. queue, work) then return work end
return waiting[1] or work
