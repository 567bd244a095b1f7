-- ARGV: work, fence, fields (JSON), number of a delivery attempt or -1, attempt (JSON), then lines
--       for the order's log; '' is none.
-- Writes into the record of work that is held. A repeated call writes to the attempt with the same
-- number, and adds none.
-- Returns 'ok' or 'lost'.
local work, number = ARGV[1], tonumber(ARGV[4])
local key = key_of(work)
if redis.call('HGET', key, 'fence') ~= ARGV[2] or not is_held(work) then return 'lost' end
for field, value in pairs(cjson.decode(ARGV[3])) do redis.call('HSET', key, field, value) end
if number >= 0 then
  local list = KEY_ATTEMPTS .. work
  local attempt = cjson.decode(ARGV[5])
  local known = redis.call('LINDEX', list, number)
  if known then
    attempt.at = cjson.decode(known).at
    redis.call('LSET', list, number, cjson.encode(attempt))
  else
    attempt.at = now / 1000
    redis.call('RPUSH', list, cjson.encode(attempt))
  end
  if redis.call('LINDEX', list, number) ~= known then tell(work, 'attempt', number) end
end
for number = 6, #ARGV do
  if ARGV[number] ~= '' then log_work(work, ARGV[number]) end
end
return 'ok'
