-- Stands before the scripts that look for bare entries with a statement.
local SCANNED, PAGE = 4096, 256
-- Longer than any mark lives, in ms: a policy may accept tokens that live for a week.
local YOUNG = 9 * 24 * 3600 * 1000
-- Whoever mints has brought into the table what was lacking when it last loaded it, in ms before the mint. What was appended
-- between that load and the mint may be lacking still.
local MINTING = 600 * 1000

-- Those of the newest entries, back to shortly before the last mint. A log whose generation was never raised has none.
local function bares(log, channel)
  local found = {}
  local head = head_of(log, channel)
  if not head or head:sub(20, 27) == ZEROS:sub(1, 8) then return found end
  local from = math.max(0, tonumber(redis.call('TIME')[1]) * 1000 - YOUNG)
  local to = '+'
  for _ = 1, SCANNED / PAGE do
    local page = redis.call('XREVRANGE', log, to, string.format('%.0f', from), 'COUNT', PAGE)
    for i = 1, #page do
      local fields = page[i][2]
      local millis = split_id(page[i][1])
      if millis < from then return found end
      if #fields == 2 and fields[1] == 'e' and sound(page[i][1], fields[2], channel) and fields[2]:byte(3) == 3 then
        from = math.max(from, millis - MINTING)
      end
      if #fields == 2 and fields[1] == 'e' and #fields[2] > FIXED and fields[2]:byte(3) == 2 then
        found[#found + 1] = page[i]
      end
    end
    if #page < PAGE then break end
    to = '(' .. page[PAGE][1]
  end
  return found
end
