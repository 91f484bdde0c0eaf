-- Takes a statement into the log alone, while the slot is migrating and the rest is out of reach. The raised generation
-- voids the channel's L2.
-- KEYS: log. ARGV: channel, cap, nonce, bell, statement.
-- Answers {'A', entry, rang}, or {'N'}: nothing was done, since the log has no head, and the digest of the table is unknown.
local log = KEYS[1]
local channel, cap, nonce, bell, statement = unpack(ARGV, 1, 5)
if not is_a(log, 'stream') then return redis.error_reply(BAD_LOG) end
local head = head_of(log, channel)
if not head then return { 'N' } end
local millis, sequence = next_id(log)
if not millis then return redis.error_reply(BAD_ID) end
local identity = head:sub(4, 19) .. raised(head:sub(20, 27))
local bytes = entry_of(channel, 2, identity, millis, sequence, nonce, head, head:sub(93, 108), statement)
local added = append(log, cap, millis, sequence, bytes)
-- Nothing was written before it.
if failed(added) then return added end
return { 'A', bytes, ring(bell, bytes) }
