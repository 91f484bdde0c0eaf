-- KEYS: log, entry. ARGV: channel, nonce. Answers 1 or 0.
if not holds(KEYS[1], KEYS[2], ARGV[1], ARGV[2]) then return 0 end
redis.call('DEL', KEYS[2])
return 1
