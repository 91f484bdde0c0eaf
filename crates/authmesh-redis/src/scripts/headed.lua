-- The head and the bare entries, for a table that is read key by key. KEYS: log. ARGV: channel. Answers {last, bare entries}.
return { redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1), bares(KEYS[1], ARGV[1]) }
