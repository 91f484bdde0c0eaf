-- KEYS: log, entry. ARGV: channel, nonce, ttl in ms. Answers 'T': taken, 'R': it was held already, 'C': crowded, 'U': no log.
local head = head_of(KEYS[1], ARGV[1])
if not head then return 'U' end
local now, ttl = time(), tonumber(ARGV[3])
local holders, last, own = others(value_of(KEYS[2]), head, ARGV[2], now)
if #holders == MAX_HOLDERS then return 'C' end
holders[#holders + 1] = ARGV[2] .. u64(now + ttl)
put_holders(KEYS[2], head, holders, math.max(last, ttl))
if own then return 'R' end
return 'T'
