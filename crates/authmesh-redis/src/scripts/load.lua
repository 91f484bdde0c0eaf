-- The head and the whole table at one instant: a scan that goes on elsewhere after a failover misses marks.
-- KEYS: log, the 32 buckets. ARGV: channel. Answers {last, bare entries, bucket, bucket, ...}.
local out = { redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1), bares(KEYS[1], ARGV[1]) }
for i = 2, #KEYS do out[i + 1] = redis.call('HGETALL', KEYS[i]) end
return out
