-- Stands before the scripts that append to a log.
local function is_a(key, kind)
  local found = redis.call('TYPE', key).ok
  return found == kind or found == 'none'
end

local function failed(reply)
  return type(reply) == 'table' and reply.err ~= nil
end

-- The XOR of the digests of a whole table. The head holds it; this is for a log that has no head.
local function root_of(buckets)
  local root = ZEROS:sub(1, 16)
  for i = 1, #buckets do
    local flat = redis.call('HGETALL', buckets[i])
    for n = 1, #flat, 2 do
      if #flat[n] == 41 and #flat[n + 1] >= 24 then root = xor(root, flat[n + 1]:sub(9, 24)) end
    end
  end
  return root
end

-- The ID of the next entry. Chosen here and not by XADD, since the entry's bytes hold it. Never less than what the stream
-- has seen: the clock may have gone back, and the newest entry may have been deleted.
local function next_id(log)
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  if redis.call('EXISTS', log) == 0 then return now, 0 end
  local info = redis.call('XINFO', 'STREAM', log)
  for n = 1, #info, 2 do
    if info[n] == 'last-generated-id' then
      local millis, sequence = split_id(info[n + 1])
      if millis < now then return now, 0 end
      -- Beyond, numbers of this language are no longer exact.
      if millis >= 9007199254740991 or sequence >= 9007199254740991 then return nil end
      return millis, sequence + 1
    end
  end
  return nil
end

local function entry_of(channel, kind, identity, millis, sequence, nonce, head, root, payload)
  local previous = '\0' .. ZEROS
  if head then previous = '\1' .. head:sub(28, 59) end
  return '\1' .. channel .. string.char(kind) .. identity .. u64(millis) .. u64(sequence) .. nonce .. previous
    .. root .. struct.pack('>I4', #payload) .. payload
end

-- One more, saturating.
local function raised(generation)
  for i = 8, 1, -1 do
    local byte = generation:byte(i)
    if byte < 255 then return generation:sub(1, i - 1) .. string.char(byte + 1) .. ZEROS:sub(1, 8 - i) end
  end
  return generation
end

local function append(log, cap, millis, sequence, bytes)
  local id = string.format('%.0f-%.0f', millis, sequence)
  return redis.pcall('XADD', log, 'MAXLEN', '=', cap, id, 'e', bytes)
end

-- Whether it could be rung. The entry stands in any case, and nodes find it by their watermark.
local function ring(bell, bytes)
  if failed(redis.pcall('SPUBLISH', bell, bytes)) then return 0 end
  return 1
end

local BAD_LOG = 'BADKEY the log of the channel is no stream; delete the key, the nodes make a new log'
local BAD_MARKS = 'BADKEY a bucket of marks is no hash; delete the key, the nodes commit its marks again'
local BAD_ID = 'BADKEY the newest ID of the log is out of range; delete the key, the nodes make a new log'
