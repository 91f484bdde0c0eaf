-- The head and the table at one instant: a scan that goes on elsewhere after a failover misses marks.
-- KEYS: log, the 32 buckets. ARGV: nothing, or the 32 digests that the caller knows.
-- Answers {last, bucket, bucket, ...}; in place of a bucket whose digest is the known one, `=`.
local out = { redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1) }
local none = string.rep('\0', 16)
for i = 2, #KEYS do
  local known = ARGV[i - 1]
  local sums = known and redis.call('HGET', KEYS[i], 'd')
  if known and (sums and sums:sub(1, 16) == known or not sums and known == none and redis.call('EXISTS', KEYS[i]) == 0) then
    out[i] = '='
  else
    out[i] = redis.call('HGETALL', KEYS[i])
  end
end
return out
