-- Removes elements of a bucket that still are these. KEYS: bucket. ARGV: field, value, field, value, ...
for n = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[n]) == ARGV[n + 1] then redis.call('HDEL', KEYS[1], ARGV[n]) end
end
return 0
