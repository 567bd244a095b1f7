-- ARGV: name of a publisher, how long it leads in ms, id of the last event that it has published
--       or ''.
-- Lets one publisher of Kue's events lead, and notes how far it is. Events before that are dropped.
-- Returns the id of the last event that was published, or '' where another publisher leads.
local leader = redis.call('GET', KEY_KUE_PUBLISHER)
if leader and leader ~= ARGV[1] then return '' end
redis.call('SET', KEY_KUE_PUBLISHER, ARGV[1], 'PX', ARGV[2])
if ARGV[3] ~= '' then
  redis.call('SET', KEY_KUE_PUBLISHED, ARGV[3])
  redis.call('XTRIM', KEY_KUE_EVENTS, 'MINID', ARGV[3])
end
return redis.call('GET', KEY_KUE_PUBLISHED) or '0-0'
