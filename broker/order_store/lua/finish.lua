-- ARGV: work, fence, to, fields (JSON), problem (JSON or ''), delay_ms, reason for the order's log
--       where work is given back without a problem, or '', case (JSON or ''), further lines for
--       the order's log.
-- `case` is {encoded = true} where the scan is encoded for a case that is judged once all scans
-- are, and {scans = {[number] = fields}} with fields for each scan where the case is judged.
-- Ends a claim. `to` is the state that was reached, or 'back': the work waits for another claim,
-- and this one does not count as an attempt.
-- Returns {messages} to enqueue, or {lost} where the work belongs to another claim by now.
local work, to, delay_ms = ARGV[1], ARGV[3], tonumber(ARGV[6])
local key = key_of(work)
local id, index = split(work)
if redis.call('HGET', key, 'fence') ~= ARGV[2] then return cjson.encode({lost = true}) end
if not is_held(work) then
  -- The holder of this fence has ended its claim already. Its answer may have been lost, and this
  -- is the repeated call.
  if to == 'back' or redis.call('HGET', key, 'state') == to then
    return cjson.encode({messages = {}})
  end
  -- it was the last scan of a case, and waits to judge it
  if to == 'classified' and redis.call('HGET', key, 'judges_case') == '1' then
    return cjson.encode({messages = {}})
  end
  return cjson.encode({lost = true})
end
local problem = nil
if ARGV[5] ~= '' then problem = cjson.decode(ARGV[5]) end
if to ~= 'back' then
  local kind = 'order'
  if index then kind = 'scan' end
  check_move(TRANSITIONS, kind, redis.call('HGET', key, 'state'), to)
end
if to == 'failed' and not problem then error('a scan fails with a problem') end
for field, value in pairs(cjson.decode(ARGV[4])) do redis.call('HSET', key, field, value) end
for number = 9, #ARGV do log_work(work, ARGV[number]) end
local case = {}
if ARGV[8] ~= '' then case = cjson.decode(ARGV[8]) end
if case.encoded then redis.call('HSET', order_key(id), 'awaits_case', 1) end
if case.scans then
  for number, fields in pairs(case.scans) do
    for field, value in pairs(fields) do
      redis.call('HSET', KEY_SCAN .. id .. '.' .. number, field, value)
    end
  end
  redis.call('HDEL', order_key(id), 'awaits_case')
  redis.call('HDEL', key, 'judges_case')
end
local message
if to == 'back' then
  redis.call('HINCRBY', key, 'attempts', -1)
  if index or not cancel_delivery(id) then
    local reason = ARGV[7]
    if problem then reason = why(problem) end
    message = give_back(work, delay_ms, reason)
  end
elseif to == 'staged' then
  redis.call('HSET', key, 'attempts', 0, 'retries', 0)
  move_scan(work, to)
  message = wait(work, 0)
elseif index then
  message = end_scan(work, to, problem)
else
  local reason = nil
  if problem then
    redis.call('HSET', key, 'error', cjson.encode(problem))
    reason = why(problem)
  end
  move_order(id, to, nil, reason)
  withdraw(id)
end
return cjson.encode({messages = {message}})
