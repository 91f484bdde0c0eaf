-- A part of a log at one instant. KEYS: log. ARGV: first ID, limit. Answers {last, first, entries}.
local log = KEYS[1]
return {
  redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1),
  redis.call('XRANGE', log, '-', '+', 'COUNT', 1),
  redis.call('XRANGE', log, ARGV[1], '+', 'COUNT', ARGV[2]),
}
