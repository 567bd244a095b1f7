-- ARGV: worker, what was seen of its end, attempts allowed, work or '' (all that it holds), refund ('1' = it was asked to go).
-- Takes work from a worker that is known to be gone, without waiting for the lease. Answers hints.
local worker, seen, allowed, refund = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[5] == '1'
local works = ARGV[4] ~= '' and {ARGV[4]} or redis.call('SMEMBERS', 'sl:held:' .. worker)
local hints = {}
for _, work in ipairs(works) do
  if is_held(work) and redis.call('HGET', key_of(work), 'worker') == worker then
    if refund then redis.call('HINCRBY', key_of(work), 'attempts', -1) end
    local hint = lose(work, seen, allowed)
    if hint then hints[#hints + 1] = hint end
  end
end
return cjson.encode({hints = hints})
