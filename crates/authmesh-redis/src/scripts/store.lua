-- KEYS: log, entry. ARGV: channel, nonce, ttl in ms, value. Answers 1 or 0.
if not holds(KEYS[1], KEYS[2], ARGV[1], ARGV[2]) then return 0 end
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[3])
return 1
