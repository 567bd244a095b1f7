-- ARGV: number of a job of Kue.
-- Removes the job at its client's request; its order is then an order like any other.
-- Returns the id of the order, '' where the job has none, or 'absent' where there is no such job.
local number = ARGV[1]
local kue = kue_rules()
if redis.call('EXISTS', kue.key_of(number)) == 0 then return 'absent' end
local id = field_of(kue.key_of(number), 'order') or ''
kue.forget(number, 'asked')
if id ~= '' then redis.call('HDEL', order_key(id), 'kue') end
return id
