-- Appends a new incarnation, if the log's is the expected one.
-- KEYS: log, bell, the 32 buckets. ARGV: channel, cap, nonce, incarnation, expected (empty: no log).
-- Answers {'A', entry, rang} or {'N'}.
local log, bell = KEYS[1], KEYS[2]
local channel, cap, nonce, incarnation, expected = unpack(ARGV, 1, 5)
if not is_a(log, 'stream') then return redis.error_reply(BAD_LOG) end

local head = head_of(log, channel)
local present, generation, root = '', ZEROS:sub(1, 8), nil
if head then present = head:sub(4, 19) end
if present ~= expected then return { 'N' } end
if head then
  -- One more, saturating.
  generation = head:sub(20, 27)
  for i = 8, 1, -1 do
    local byte = generation:byte(i)
    if byte < 255 then
      generation = generation:sub(1, i - 1) .. string.char(byte + 1) .. ZEROS:sub(1, 8 - i)
      break
    end
  end
end
local buckets = { unpack(KEYS, 3) }
for i = 1, #buckets do
  if not is_a(buckets[i], 'hash') then return redis.error_reply(BAD_MARKS) end
end
-- Made anew: the old one may count what is not there any more.
local sums
root, sums = root_of(buckets)
local millis, sequence = next_id(log)
if not millis then return redis.error_reply(BAD_ID) end
local bytes = entry_of(channel, 3, incarnation .. generation, millis, sequence, nonce, head, root, '')
local added = append(log, cap, millis, sequence, bytes)
-- Nothing was written before it.
if failed(added) then return added end
for i = 1, #buckets do put_back(buckets[i], 'd', sums[i]) end
return { 'A', bytes, ring(bell, bytes) }
