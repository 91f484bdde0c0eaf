-- KEYS: members. Answers {ID, record, ID, record, ...}.
return redis.call('HGETALL', KEYS[1])
