-- ARGV: order id, actor.
-- Cancels an order. Its scans end at once, and workers that hold one are refused from now on.
-- A delivery under way cannot be called back: it is asked to stop, and its outcome decides.
-- Returns the state in which the order is now, 'requested', or 'absent' where there is no order.
local id = ARGV[1]
local key = order_key(id)
local state = redis.call('HGET', key, 'state')
if not state then return 'absent' end
if has_ended(id) then return state end
if redis.call('HGET', key, 'cancel') ~= '1' then record_act(id, 'cancel', ARGV[2]) end
if state == 'delivering' and last_outcome(id) == 'accepted' and not is_held(id) then
  move_order(id, 'delivered')
  withdraw(id)
  return 'delivered'
end
redis.call('HSET', key, 'cancel', 1)
-- The results may have arrived. The destination is asked first: only then is the true end known.
if state == 'delivering' and (is_held(id) or last_outcome(id) == 'unknown') then
  log(id, 'cancel asked for while the results are on their way')
  return 'requested'
end
stop_scans(id)
fail_order(id, 'cancelled', {code = 'cancelled',
  detail = 'cancelled while ' .. state})
withdraw(id)
return 'cancelled'
