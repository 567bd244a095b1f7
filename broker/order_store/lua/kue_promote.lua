-- ARGV: limit.
-- Moves jobs of Kue whose delay is over from `delayed` to `inactive`, as Kue's promotion does.
local due = redis.call('ZRANGEBYSCORE', KEY_KUE_JOBS_BY_STATE .. 'delayed', '-inf', now,
  'LIMIT', 0, ARGV[1])
for _, member in ipairs(due) do kue_rules().enqueue(string.match(member, '|(.+)$'), now) end
return #due
