-- Stands before the scripts that append to a log.
local function is_a(key, kind)
  local found = redis.call('TYPE', key).ok
  return found == kind or found == 'none'
end

local function failed(reply)
  return type(reply) == 'table' and reply.err ~= nil
end

-- The XOR of the digests of a whole table, and per bucket its digest and least hour; false for an empty one.
local function root_of(buckets)
  local root, sums = ZEROS:sub(1, 16), {}
  for i = 1, #buckets do
    local flat = redis.call('HGETALL', buckets[i])
    local sum, least = ZEROS:sub(1, 16), nil
    for n = 1, #flat, 2 do
      if #flat[n] == 41 and #flat[n + 1] >= 24 then
        sum = xor(sum, flat[n + 1]:sub(9, 24))
        if not least or less(flat[n]:sub(1, 8), least) then least = flat[n]:sub(1, 8) end
      end
    end
    root, sums[i] = xor(root, sum), least and sum .. least or false
  end
  return root, sums
end

-- Marks whose hour is before this one are past, by this server's clock and the caller's (in hours, decimal), and an hour
-- more: what both say, since a clock that jumps ahead must not take what is still needed.
local function past_before(hour)
  local now = math.floor(tonumber(redis.call('TIME')[1]) / 3600)
  return u64(math.max(math.min(now, tonumber(hour)) - 1, 0))
end

local function put_back(key, field, value)
  if value then redis.pcall('HSET', key, field, value) else redis.pcall('HDEL', key, field) end
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
