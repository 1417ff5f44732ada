-- wrk's part of a purchase load: each request is another buyer with a key of its own, each answer is counted and
-- each confirmed order's id is written down, to be held against the table afterwards.
-- Arguments after wrk's `--`: the product's id, a prefix for buyers' names, the file for order ids, the operator's
-- token or an empty text, and `held` if the product's orders are held. A held order counts as a confirmed one.

local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

function init(args)
  product, prefix, file = args[1], args[2], args[3]
  sent, attempts, most = 0, 0, 0
  confirmed, sold_out, busy, other = 0, 0, 0, 0
  log = io.open(file .. "." .. number, "w")
  log:setvbuf("line") -- wrk ends its threads without closing their files
  head = '{"query":"mutation Buy($input: PurchaseInput!) { purchase(input: $input) { status attempts ' ..
    '... on PurchaseConfirmed { order { id } } ' .. (args[5] == "held" and "... on PurchaseHeld { order { id } } " or "") ..
    '} }","variables":{"input":{"productId":"' .. product .. '","userRef":"'
  headers = { ["Content-Type"] = "application/json" }
  if args[4] ~= "" then headers["Authorization"] = "Bearer " .. args[4] end
end

function request()
  sent = sent + 1
  local buyer = prefix .. "-" .. number .. "-" .. sent
  return wrk.format("POST", "/graphql", headers, head .. buyer .. '","idempotencyKey":"' .. buyer .. '"}}}')
end

function response(status, _, body)
  local outcome = status == 200 and body:match('"status":"([A-Z_]+)"') or "OTHER"
  if outcome == "CONFIRMED" or outcome == "HELD" then
    confirmed = confirmed + 1
    log:write(body:match('"id":"([^"]+)"'), "\n")
  elseif outcome == "SOLD_OUT" then sold_out = sold_out + 1
  elseif outcome == "BUSY" then busy = busy + 1
  else other = other + 1 end
  local tried = tonumber(body:match('"attempts":(%d+)')) or 0
  attempts = attempts + tried
  if tried > most then most = tried end
end

-- Percentiles of the latency that let bench/wrk.py merge several runs: close together where p95 and p99 are.
function quantiles(latency)
  local points = {}
  local function add(percent)
    table.insert(points, string.format("[%g,%f]", percent, latency:percentile(percent) / 1e3))
  end
  for percent = 5, 90, 5 do add(percent) end
  for percent = 91, 98, 1 do add(percent) end
  for tenths = 982, 998, 2 do add(tenths / 10) end
  add(99.9)
  table.insert(points, string.format("[100,%f]", latency.max / 1e3))
  return "[" .. table.concat(points, ",") .. "]"
end

function done(summary, latency, _)
  local total = { confirmed = 0, sold_out = 0, busy = 0, other = 0, attempts = 0 }
  local peak = 0
  for _, thread in ipairs(threads) do
    for name in pairs(total) do total[name] = total[name] + thread:get(name) end
    peak = math.max(peak, thread:get("most"))
  end
  local errors = summary.errors
  io.write(string.format(
    'JSON {"seconds":%f,"confirmed":%d,"sold_out":%d,"busy":%d,"other":%d,"attempts":%d,"most_attempts":%d,' ..
    '"lost":%d,"p50":%f,"p95":%f,"p99":%f,"max":%f,"quantiles":%s}\n',
    summary.duration / 1e6, total.confirmed, total.sold_out, total.busy, total.other, total.attempts, peak,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
    quantiles(latency)))
end
