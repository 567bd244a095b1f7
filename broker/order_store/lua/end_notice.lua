-- ARGV: name of a notice, delay_ms until it is due again or '' where it is done, line for the log
--       of its order or ''.
local name = ARGV[1]
if ARGV[2] == '' then
  redis.call('ZREM', KEY_NOTICES, name)
else
  redis.call('ZADD', KEY_NOTICES, 'XX', now + tonumber(ARGV[2]), name)
end
local id = string.match(name, '^%S+')
if ARGV[3] ~= '' and redis.call('EXISTS', order_key(id)) == 1 then log(id, ARGV[3]) end
return 'ok'
