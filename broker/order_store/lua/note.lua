-- ARGV: work, fence, fields (JSON), attempt number or -1, attempt (JSON), line for the log or ''.
-- Writes beside held work. The attempt's number makes a repeated write land on the same attempt.
local work, attempt = ARGV[1], tonumber(ARGV[4])
local key = key_of(work)
if redis.call('HGET', key, 'fence') ~= ARGV[2] or not is_held(work) then return 'lost' end
for field, value in pairs(cjson.decode(ARGV[3])) do redis.call('HSET', key, field, value) end
if attempt >= 0 then
  local list = 'sl:attempts:' .. work
  local told = cjson.decode(ARGV[5])
  told.at = now / 1000
  if redis.call('LLEN', list) > attempt then
    told.at = cjson.decode(redis.call('LINDEX', list, attempt)).at
    redis.call('LSET', list, attempt, cjson.encode(told))
  else
    redis.call('RPUSH', list, cjson.encode(told))
  end
end
if ARGV[6] ~= '' then log_work(work, ARGV[6]) end
return 'ok'
