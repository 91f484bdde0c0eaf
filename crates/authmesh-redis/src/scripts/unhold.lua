-- KEYS: log, entry. ARGV: channel, nonce. Answers 0.
local head = head_of(KEYS[1], ARGV[1])
local value = value_of(KEYS[2])
if not head or live(value, head) ~= 3 then return 0 end
local holders, last = others(value, head, ARGV[2], time())
if #holders == 0 then
  redis.call('DEL', KEYS[2])
else
  put_holders(KEYS[2], head, holders, last)
end
return 0
