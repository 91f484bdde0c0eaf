-- Commits a statement. Order: merge or delete, append, ring.
-- KEYS: log, entry (drop) or bucket (mark), then the 32 buckets if the log may have no head. The bell is none of them: a
-- key that does not exist makes the script fail while the slot is migrating.
-- ARGV: channel, cap, nonce, birth, bell, statement, 'd' or 'm'; for a mark: field, rank, digest, sealed.
-- Answers {'A', entry, rang}, or {'N'}: nothing was done, since the log has no head and the buckets were not named.
local log, place = KEYS[1], KEYS[2]
local channel, cap, nonce, birth, bell, statement, effect = unpack(ARGV, 1, 7)
if not is_a(log, 'stream') then return redis.error_reply(BAD_LOG) end
if effect == 'm' and not is_a(place, 'hash') then return redis.error_reply(BAD_MARKS) end

local head = head_of(log, channel)
local identity, root
if head then
  identity, root = head:sub(4, 27), head:sub(93, 108)
elseif #KEYS == 2 then
  return { 'N' }
else
  local buckets = { unpack(KEYS, 3) }
  for i = 1, #buckets do
    if not is_a(buckets[i], 'hash') then return redis.error_reply(BAD_MARKS) end
  end
  identity, root = birth .. ZEROS:sub(1, 8), root_of(buckets)
end
local millis, sequence = next_id(log)
if not millis then return redis.error_reply(BAD_ID) end

local held, merged
if effect == 'd' then
  redis.call('DEL', place)
else
  local field, rank, digest, sealed = unpack(ARGV, 8, 11)
  held = redis.call('HGET', place, field)
  local counts = held and #held >= 24
  if not counts or less(held:sub(1, 8), rank) then
    root = xor(root, digest)
    if counts then root = xor(root, held:sub(9, 24)) end
    redis.call('HSET', place, field, rank .. digest .. sealed)
    merged = field
  end
end

local bytes = entry_of(channel, 1, identity, millis, sequence, nonce, head, root, statement)
local added = append(log, cap, millis, sequence, bytes)
if failed(added) then
  -- A table that does not match its head could never be loaded again.
  if merged and held then
    redis.pcall('HSET', place, merged, held)
  elseif merged then
    redis.pcall('HDEL', place, merged)
  end
  return redis.error_reply('HALFWAY ' .. added.err)
end
return { 'A', bytes, ring(bell, bytes) }
