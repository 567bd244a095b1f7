-- ARGV: work, fence. Answers ok, cancel or lost; writes nothing.
if redis.call('HGET', key_of(ARGV[1]), 'fence') ~= ARGV[2] or not is_held(ARGV[1]) then return 'lost' end
local id = split(ARGV[1])
return redis.call('HGET', order_key(id), 'cancel') == '1' and 'cancel' or 'ok'
