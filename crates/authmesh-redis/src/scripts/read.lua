-- KEYS: log, entry. Answers {last, value}.
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
return { last, value_of(KEYS[2]) or false }
