-- ARGV: number of the job, its hash fields (JSON), why it cannot be an order, how many such jobs are
--       kept, for how many ms.
-- Stores a job of Kue that is failed from the start. A repeated call changes nothing.
local number, most, keep_ms = ARGV[1], tonumber(ARGV[4]), tonumber(ARGV[5])
local kue = kue_rules()
if redis.call('EXISTS', kue.key_of(number)) == 1 then return 'known' end
kue.refuse(number, cjson.decode(ARGV[2]), ARGV[3], now)
redis.call('ZADD', KEY_KUE_REFUSED, now, number)
local too_many = redis.call('ZCARD', KEY_KUE_REFUSED) - most
if too_many > 0 then
  for _, old in ipairs(redis.call('ZRANGE', KEY_KUE_REFUSED, 0, too_many - 1)) do
    kue.forget(old)
  end
end
for _, old in ipairs(redis.call(
  'ZRANGEBYSCORE', KEY_KUE_REFUSED, '-inf', now - keep_ms, 'LIMIT', 0, 100)) do
  kue.forget(old)
end
return 'stored'
