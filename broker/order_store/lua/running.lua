-- How much of what waited on each queue is held by a worker now. What a dead worker holds counts until its lease runs out.
local running = {}
for _, worker in ipairs(redis.call('ZRANGE', 'sl:workers', 0, -1)) do
  for _, work in ipairs(redis.call('SMEMBERS', 'sl:held:' .. worker)) do
    local queue = redis.call('HGET', key_of(work), 'queue')
    if queue then running[queue] = (running[queue] or 0) + 1 end
  end
end
return cjson.encode(running)
