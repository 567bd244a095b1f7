-- ARGV: id, fields (JSON), how long the record is kept in ms, most slides of one caller, most slides
--       that may be fetched at a time, most of them of one caller.
-- Stores a slide that somebody looks at. The oldest slides of its caller go where there are too
-- many. Returns 'ok', 'full', or 'full_of_caller'.

-- Returns how many slides of the caller are fetched or wait for it. So few wait at all that they
-- are counted, rather than a number kept that a forgotten record would leave wrong.
local function fetching_of(creator)
  local count = 0
  for _, each in ipairs(redis.call('ZRANGE', KEY_SLIDES_DUE, 0, -1)) do
    local stored = redis.call('HMGET', KEY_SLIDE .. each, 'created_by', 'state')
    if stored[1] == creator and stored[2] == 'fetching' then count = count + 1 end
  end
  return count
end

local id = ARGV[1]
local fields = cjson.decode(ARGV[2])
if fields.state == 'fetching' then
  if redis.call('ZCARD', KEY_SLIDES_DUE) >= tonumber(ARGV[5]) then return 'full' end
  if fetching_of(fields.created_by) >= tonumber(ARGV[6]) then return 'full_of_caller' end
  redis.call('ZADD', KEY_SLIDES_DUE, now + GRACE_MS, id)
end
for name, value in pairs(fields) do redis.call('HSET', KEY_SLIDE .. id, name, value) end
redis.call('PEXPIRE', KEY_SLIDE .. id, ARGV[3])
local own = KEY_SLIDES_BY_CREATOR .. fields.created_by
redis.call('ZADD', own, now, id)
redis.call('PEXPIRE', own, 2 * tonumber(ARGV[3]))
while redis.call('ZCARD', own) > tonumber(ARGV[4]) do
  local oldest = redis.call('ZPOPMIN', own)[1]
  redis.call('DEL', KEY_SLIDE .. oldest)
  redis.call('ZREM', KEY_SLIDES_DUE, oldest)
end
return 'ok'
