-- KEYS: log, entry. ARGV: channel, ttl in ms, value, then the void value if there is one.
-- Answers 1, 0, or -1 for a channel without a log.
local head = head_of(KEYS[1], ARGV[1])
if not head then return -1 end
local value = value_of(KEYS[2])
local found = live(value, head)
if found == 3 or found == 2 and (ARGV[4] == nil or value ~= ARGV[4]) then return 0 end
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[2])
return 1
