-- wrk's part of a fixed GraphQL operation.
-- Arguments after wrk's `--`: the request's body, and the operator's token or an empty text.

function init(args)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  if args[2] ~= "" then wrk.headers["Authorization"] = "Bearer " .. args[2] end
  wrk.body = args[1]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format('JSON {"seconds":%f,"requests":%d,"p50":%f,"p99":%f,"errors":%d}\n',
    summary.duration / 1e6, summary.requests, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
