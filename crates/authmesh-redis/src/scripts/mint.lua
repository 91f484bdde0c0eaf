-- Appends a new incarnation, if the log's is the expected one.
-- KEYS: log; the 32 buckets, but not while the slot is migrating. ARGV: channel, cap, nonce, incarnation, bell, expected (empty: no log).
-- Answers {'A', entry, rang} or {'N'}.
local log = KEYS[1]
local channel, cap, nonce, incarnation, bell, expected = unpack(ARGV, 1, 6)
if not is_a(log, 'stream') then return redis.error_reply(BAD_LOG) end

local head = head_of(log, channel)
local present, generation, root = '', ZEROS:sub(1, 8), nil
if head then present = head:sub(4, 19) end
if present ~= expected then return { 'N' } end
if head then
  root = head:sub(93, 108)
  generation = raised(head:sub(20, 27))
end
local buckets, sums = { unpack(KEYS, 2) }, {}
if #buckets > 0 then
  for i = 1, #buckets do
    if not is_a(buckets[i], 'hash') then return redis.error_reply(BAD_MARKS) end
  end
  -- Made anew: the old one may count what is not there any more.
  root, sums = root_of(buckets)
end
local millis, sequence = next_id(log)
if not millis then return redis.error_reply(BAD_ID) end
local bytes = entry_of(channel, 3, incarnation .. generation, millis, sequence, nonce, head, root, '')
local added = append(log, cap, millis, sequence, bytes)
-- Nothing was written before it.
if failed(added) then return added end
for i = 1, #buckets do put_back(buckets[i], 'd', sums[i]) end
return { 'A', bytes, ring(bell, bytes) }
