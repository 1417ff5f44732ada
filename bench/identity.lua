-- wrk's part of bench.identity: a fixed number of purchases, each with the next token of a file, which begins anew at
-- its end. An empty line is no token.
-- Arguments after wrk's `--`: the product's id, a prefix for keys, the file of tokens, the number of purchases, and
-- `named` if each purchase names its buyer.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  prefix, wanted, named = args[2], tonumber(args[4]), args[5] == "named"
  headers = {}
  for token in io.lines(args[3]) do
    local each = { ["Content-Type"] = "application/json" }
    if token ~= "" then each["Authorization"] = "Bearer " .. token end
    table.insert(headers, each)
  end
  sent, answered, other = 0, 0, ""
  head = '{"query":"mutation Buy($input: PurchaseInput!) { purchase(input: $input) { status attempts ' ..
    '... on PurchaseConfirmed { order { id } } } }","variables":{"input":{"productId":"' .. args[1] .. '",'
end

function request()
  local turn = sent % #headers + 1
  sent = sent + 1
  local buyer = named and '"userRef":"' .. prefix .. "-" .. turn .. '",' or ""
  return wrk.format("POST", "/graphql", headers[turn],
    head .. buyer .. '"idempotencyKey":"' .. prefix .. "-" .. sent .. '"}}}')
end

function response(status, _, body)
  answered = answered + 1
  local confirmed = status == 200 and body:find('"status":"CONFIRMED"', 1, true)
  if not confirmed and other == "" then other = body:sub(1, 300) end
  if answered == wanted then
    wrk.thread:stop() -- wrk itself goes on for its time, until it is interrupted
    io.write("ENOUGH\n")
    io.flush()
  end
end

function done(_, _, _)
  for _, thread in ipairs(threads) do
    local other = thread:get("other")
    if other ~= "" then io.write("OTHER " .. other .. "\n") end
  end
end
