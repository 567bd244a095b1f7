-- Returns for each queue how much work of it the workers hold now. Work of a worker that died
-- counts until its lease has ended.
local running = {}
for _, worker in ipairs(redis.call('ZRANGE', KEY_WORKERS, 0, -1)) do
  for _, work in ipairs(redis.call('SMEMBERS', KEY_HELD .. worker)) do
    local queue = field_of(key_of(work), 'queue')
    if queue then running[queue] = (running[queue] or 0) + 1 end
  end
end
return cjson.encode(running)
