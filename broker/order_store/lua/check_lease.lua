-- ARGV: work, fence. Returns 'ok', 'cancel' or 'lost'; writes nothing.
local work = ARGV[1]
if redis.call('HGET', key_of(work), 'fence') ~= ARGV[2] or not is_held(work) then return 'lost' end
local id = split(work)
if redis.call('HGET', order_key(id), 'cancel') == '1' then return 'cancel' end
return 'ok'
