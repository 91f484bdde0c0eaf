-- KEYS: log, entry. ARGV: channel, nonce, ttl in ms, then the void value if there is one.
-- Answers {'T', incarnation and generation}, {'H', holder}, {'P'}, {'B'}: on hold, or {'U'}.
local head = head_of(KEYS[1], ARGV[1])
if not head then return { 'U' } end
local value = value_of(KEYS[2])
local found = live(value, head)
if found == 3 then return { 'B' } end
if found == 2 and (ARGV[4] == nil or value ~= ARGV[4]) then return { 'P' } end
if found == 1 and value:sub(27, 42) ~= ARGV[2] then return { 'H', value:sub(27, 42) } end
local identity = head:sub(4, 27)
redis.call('SET', KEYS[2], '\1\1' .. identity .. ARGV[2], 'PX', ARGV[3])
return { 'T', identity }
