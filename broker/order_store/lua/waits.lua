-- ARGV: works. For each that waits: its queue, in how many ms it may be taken, and how much is taken before it.
local waits = {}
for _, work in ipairs(ARGV) do
  local queue = redis.call('HGET', key_of(work), 'queue')
  local from = queue and redis.call('ZSCORE', 'sl:waiting:' .. queue, work)
  if from then
    local base, ahead = string.gsub(queue, '%..*$', ''), redis.call('ZCOUNT', 'sl:waiting:' .. queue, '-inf', '(' .. from)
    for rank = 4, 1, -1 do
      local other = base .. SUFFIX[rank]
      if other == queue then break end
      ahead = ahead + redis.call('ZCOUNT', 'sl:waiting:' .. other, '-inf', now)
    end
    waits[work] = {queue = queue, in_ms = math.max(0, tonumber(from) - now), ahead = ahead}
  end
end
return cjson.encode(waits)
