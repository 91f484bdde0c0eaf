-- The head and the table at one instant: a scan that goes on elsewhere after a failover misses marks.
-- KEYS: log, the 32 buckets. ARGV: channel, then nothing, or the 32 digests that the caller knows.
-- Answers {last, bare entries, bucket, bucket, ...}; in place of a bucket whose digest is the known one, `=`.
local out = { redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1), bares(KEYS[1], ARGV[1]) }
for i = 2, #KEYS do
  local known = ARGV[i]
  local sums = known and redis.call('HGET', KEYS[i], 'd')
  local empty = known == ZEROS:sub(1, 16) and redis.call('EXISTS', KEYS[i]) == 0
  if known and (sums and sums:sub(1, 16) == known or not sums and empty) then
    out[i + 1] = '='
  else
    out[i + 1] = redis.call('HGETALL', KEYS[i])
  end
end
return out
