-- KEYS: counter. ARGV: by, ttl in ms. Answers the sum as text: numbers of this language are not exact beyond 2^53.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return ARGV[1]
end
local sum = redis.pcall('INCRBY', KEYS[1], ARGV[1])
if type(sum) ~= 'table' then return redis.call('GET', KEYS[1]) end
if not sum.err:find('overflow', 1, true) then return sum end
local limit = '9223372036854775807'
if ARGV[1]:sub(1, 1) == '-' then limit = '-9223372036854775808' end
redis.call('SET', KEYS[1], limit, 'KEEPTTL')
return limit
