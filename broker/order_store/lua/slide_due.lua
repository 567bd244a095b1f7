-- ARGV: most slides, when a message is sent again in ms, the longest such time in ms, most attempts.
-- Checks the slides whose message may be lost or whose lease has ended. Each message that was not
-- answered doubles the time until the next. Returns JSON: messages, each of id, priority, attempt.
local messages = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEY_SLIDES_DUE, '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local key = KEY_SLIDE .. id
  local stored = redis.call('HMGET', key, 'state', 'attempts', 'priority')
  local attempts = tonumber(stored[2] or 0)
  if stored[1] ~= 'fetching' then
    redis.call('ZREM', KEY_SLIDES_DUE, id)
  elseif attempts >= tonumber(ARGV[4]) then
    redis.call('ZREM', KEY_SLIDES_DUE, id)
    redis.call('HSET', key, 'state', 'failed', 'problem', cjson.encode({
      code = 'worker_lost',
      detail = 'whoever fetched the slide was lost ' .. attempts .. ' times',
      hint = 'look at it again with POST /v1/slides; the log of the couriers may say why',
      blame = 'platform',
    }))
    redis.call('HINCRBY', key, 'fence', 1)
  else
    local sent = redis.call('HINCRBY', key, 'sent', 1)
    local wait_ms = math.min(tonumber(ARGV[2]) * 2 ^ math.min(sent - 1, 20), tonumber(ARGV[3]))
    redis.call('ZADD', KEY_SLIDES_DUE, now + math.floor(wait_ms), id)
    messages[#messages + 1] = {id, stored[3] or 'normal', attempts + 1}
  end
end
return cjson.encode({messages = messages})
