-- Stands before the scripts about holds: who holds a name, as a list of 24 bytes each: nonce, until in ms.
local MAX_HOLDERS = 16

local function time()
  local now = redis.call('TIME')
  return tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
end

-- Those that hold it now but for one, how long the last of them does in ms, and whether that one does.
local function others(value, head, nonce, now)
  local kept, last, own = {}, 0, false
  if live(value, head) ~= 3 then return kept, last, own end
  for at = 27, #value, 24 do
    local high, low = struct.unpack('>I4I4', value:sub(at + 16, at + 23))
    local left = high * 4294967296 + low - now
    if left > 0 then
      if value:sub(at, at + 15) == nonce then
        own = true
      else
        kept[#kept + 1] = value:sub(at, at + 23)
        last = math.max(last, left)
      end
    end
  end
  return kept, last, own
end

local function put_holders(key, head, holders, last)
  redis.call('SET', key, '\1\3' .. head:sub(4, 27) .. table.concat(holders), 'PX', string.format('%.0f', last))
end
