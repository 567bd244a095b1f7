-- ARGV: ids of work.
-- Returns for each that waits: its queue, in how many ms it may be claimed (in_ms), and how much
-- work is claimed before it (ahead).
local waits = {}
for _, work in ipairs(ARGV) do
  local queue = field_of(key_of(work), 'queue')
  local from = queue and redis.call('ZSCORE', KEY_WAITING .. queue, work)
  if from then
    local base = string.gsub(queue, '%..*$', '')
    local ahead = redis.call('ZCOUNT', KEY_WAITING .. queue, '-inf', '(' .. from)
    for rank = 4, 1, -1 do
      local other = base .. SUFFIX[rank]
      if other == queue then break end
      ahead = ahead + redis.call('ZCOUNT', KEY_WAITING .. other, '-inf', now)
    end
    waits[work] = {queue = queue, in_ms = math.max(0, tonumber(from) - now), ahead = ahead}
  end
end
return cjson.encode(waits)
