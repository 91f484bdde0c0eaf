-- Commits a statement. Order: merge or delete, append, ring.
-- KEYS: log, entry (drop) or bucket (mark), then the 32 buckets if the log may have no head. The bell is none of them: a
-- key that does not exist makes the script fail while the slot is migrating.
-- ARGV: channel, cap, nonce, birth, bell, statement, 'd' or 'm'; for a mark: field, rank, digest, sealed, the
-- caller's hour.
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

local held, merged, sums
local past = {}
if effect == 'd' then
  -- A hold outlasts the drops of its writer.
  if not head or live(value_of(place), head) ~= 3 then redis.call('DEL', place) end
else
  local field, rank, digest, sealed, hour = unpack(ARGV, 8, 12)
  sums = redis.call('HGET', place, 'd')
  local sum, least = ZEROS:sub(1, 16), field:sub(1, 8)
  if sums and #sums == 24 then
    sum = sums:sub(1, 16)
    if less(sums:sub(17), least) then least = sums:sub(17) end
  end
  held = redis.call('HGET', place, field)
  local counts = held and #held >= 24
  if not counts or less(held:sub(1, 8), rank) then
    local change = digest
    if counts then change = xor(change, held:sub(9, 24)) end
    root, sum = xor(root, change), xor(sum, change)
    redis.call('HSET', place, field, rank .. digest .. sealed)
    merged = field
  end
  local limit = past_before(hour)
  if less(least, limit) then
    least = nil
    local fields = redis.call('HKEYS', place)
    for n = 1, #fields do
      local at = fields[n]:sub(1, 8)
      if #fields[n] ~= 41 then
        -- The sums, or nothing of ours.
      elseif less(at, limit) then
        local value = redis.call('HGET', place, fields[n])
        if #value >= 24 then root, sum = xor(root, value:sub(9, 24)), xor(sum, value:sub(9, 24)) end
        past[#past + 1] = fields[n]
      elseif not least or less(at, least) then
        least = at
      end
    end
    least = least or field:sub(1, 8)
  end
  redis.call('HSET', place, 'd', sum .. least)
end

local bytes = entry_of(channel, 1, identity, millis, sequence, nonce, head, root, statement)
local added = append(log, cap, millis, sequence, bytes)
if failed(added) then
  -- A table that does not match its head could never be loaded again.
  if merged then put_back(place, merged, held) end
  if effect == 'm' then put_back(place, 'd', sums) end
  return redis.error_reply('HALFWAY ' .. added.err)
end
-- Last, since it cannot be taken back: the head says already that they are gone.
for n = 1, #past do redis.call('HDEL', place, past[n]) end
return { 'A', bytes, ring(bell, bytes) }
