-- ARGV: id. Ends an order at once; whoever works on one of its scans is refused from now on. A delivery that is under way
-- cannot be called back: it is told to stop, and how it went decides. Answers the state found, or 'absent'.
local id = ARGV[1]
local key = order_key(id)
local state = redis.call('HGET', key, 'state')
if not state then return 'absent' end
if has_ended(id) then return state end
if state == 'delivering' and last_outcome(id) == 'accepted' and not is_held(id) then
  move_order(id, 'delivered')
  rest(id)
  return 'delivered'
end
redis.call('HSET', key, 'cancel', 1)
-- results that may have arrived are asked for first; only then is it known which end is true
if state == 'delivering' and (is_held(id) or last_outcome(id) == 'unknown') then
  log(id, 'cancel asked for while the results are on their way')
  return 'asked'
end
stop_scans(id)
fail_order(id, 'cancelled', {code = 'cancelled', detail = 'cancelled while ' .. state, blame = 'input'})
rest(id)
return 'cancelled'
