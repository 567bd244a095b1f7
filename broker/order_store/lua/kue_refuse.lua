-- ARGV: number of the job, its hash fields (JSON), why it cannot be an order, how many such jobs are
--       kept, for how many ms.
-- Stores a job of Kue that is failed from the start. A repeated call changes nothing.
local number, job, why_not = ARGV[1], cjson.decode(ARGV[2]), ARGV[3]
if redis.call('EXISTS', kue_key(number)) == 1 then return 'known' end
kue_store(number, job, now)
redis.call('HSET', kue_key(number), 'error', why_not, 'failed_at', now, 'attempts', 1)
kue_put(number, 'failed', now)
kue_tell(number, 'error', why_not)
kue_tell(number, 'failed', why_not)
redis.call('ZADD', KEY_KUE_REFUSED, now, number)
local count = redis.call('ZCARD', KEY_KUE_REFUSED)
for _, old in ipairs(redis.call('ZRANGE', KEY_KUE_REFUSED, 0, count - tonumber(ARGV[4]) - 1)) do
  if count > tonumber(ARGV[4]) then kue_forget(old) end
end
local latest = now - tonumber(ARGV[5])
for _, old in ipairs(
  redis.call('ZRANGEBYSCORE', KEY_KUE_REFUSED, '-inf', latest, 'LIMIT', 0, 100)) do
  kue_forget(old)
end
return 'stored'
