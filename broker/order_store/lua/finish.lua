-- ARGV: work, fence, to, fields (JSON), problem (JSON or ''), delay_ms.
-- `to` is the state reached; 'back' gives the work back to wait for another claim, and this one counts for nothing.
local work, to, delay_ms = ARGV[1], ARGV[3], tonumber(ARGV[6])
local key = key_of(work)
local id, index = split(work)
if redis.call('HGET', key, 'fence') ~= ARGV[2] then return cjson.encode({lost = true}) end
if not is_held(work) then
  -- the holder of this fence let go itself; its answer may have been lost, and it asks once more
  if to == 'back' or redis.call('HGET', key, 'state') == to then return cjson.encode({hints = {}}) end
  return cjson.encode({lost = true})
end
local problem = ARGV[5] ~= '' and cjson.decode(ARGV[5]) or nil
if to ~= 'back' then check(TRANSITIONS, index and 'scan' or 'order', redis.call('HGET', key, 'state'), to) end
if to == 'failed' and not problem then error('a scan fails with a problem') end
for field, value in pairs(cjson.decode(ARGV[4])) do redis.call('HSET', key, field, value) end
local hint
if to == 'back' then
  redis.call('HINCRBY', key, 'attempts', -1)
  if index or not cancel_delivery(id) then
    if problem then log_work(work, problem.code .. ': ' .. problem.detail) end
    hint = give_back(work, delay_ms)
  end
elseif to == 'staged' then
  redis.call('HSET', key, 'attempts', 0, 'retries', 0)
  move_scan(work, to)
  hint = wait(work, 0)
elseif index then
  hint = end_scan(work, to, problem)
else
  if problem then redis.call('HSET', key, 'error', cjson.encode(problem)) end
  move_order(id, to)
  rest(id)
end
return cjson.encode({hints = {hint}})
