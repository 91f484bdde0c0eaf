-- Stands before every script. Offsets are those of `authmesh_proto::log` and `authmesh_proto::record`, counted from 1.
local FIXED = 112
local ZEROS = string.rep('\0', 32)

-- A whole number below 2^53 as 8 bytes, big-endian.
local function u64(n)
  local low = n % 4294967296
  return struct.pack('>I4I4', (n - low) / 4294967296, low)
end

-- Byte by byte: Lua compares strings by the server's locale.
local function less(a, b)
  for i = 1, #a do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x < y end
  end
  return false
end

local function xor(a, b)
  local out = {}
  for i = 1, 16, 4 do
    -- `unpack` also answers where it stopped, and bxor takes any number of values: one name each.
    local x = struct.unpack('>I4', a:sub(i, i + 3))
    local y = struct.unpack('>I4', b:sub(i, i + 3))
    -- The result is signed.
    out[#out + 1] = struct.pack('>I4', bit.bxor(x, y) % 4294967296)
  end
  return table.concat(out)
end

local function split_id(id)
  local millis, sequence = id:match('^(%d+)-(%d+)$')
  return tonumber(millis), tonumber(sequence)
end

-- Whether these bytes are a log entry, in its own place. Says yes to exactly what the nodes read: if it did not, a
-- channel whose head only one side can read would never heal.
local function sound(id, e, channel)
  if #e < FIXED or e:sub(1, 2) ~= '\1' .. channel then return false end
  local kind, length = e:byte(3), #e - FIXED
  if length > 4096 or e:sub(109, 112) ~= struct.pack('>I4', length) then return false end
  if not ((kind == 1 and length > 0) or kind == 2 or (kind == 3 and length == 0)) then return false end
  local linked = e:byte(60)
  if linked ~= 1 and not (linked == 0 and e:sub(61, 92) == ZEROS) then return false end
  local millis, sequence = split_id(id)
  return e:sub(28, 43) == u64(millis) .. u64(sequence)
end

-- The bytes of the last entry of a log. None where there is no log, and where garbage stands in its place.
local function head_of(log, channel)
  local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  if not last then return nil end
  local fields = last[2]
  if #fields ~= 2 or fields[1] ~= 'e' or not sound(last[1], fields[2], channel) then return nil end
  return fields[2]
end

-- The bytes under an entry's name; a key of another type is no value, and gives way like one.
local function value_of(key)
  local value = redis.pcall('GET', key)
  if type(value) ~= 'string' then return nil end
  return value
end

-- 1: a live lease, 2: a live record, 3: a hold, 0: nothing that counts.
local function live(value, head)
  if not value or value:sub(1, 1) ~= '\1' or value:sub(3, 26) ~= head:sub(4, 27) then return 0 end
  local kind = value:byte(2)
  if kind == 1 and #value == 42 then return 1 end
  if kind == 2 and #value >= 34 then return 2 end
  if kind == 3 and #value > 26 and #value <= 410 and (#value - 26) % 24 == 0 then return 3 end
  return 0
end

local function holds(log, key, channel, nonce)
  local head = head_of(log, channel)
  if not head then return false end
  local value = value_of(key)
  return live(value, head) == 1 and value:sub(27, 42) == nonce
end
