-- Arguments after `--`: METHOD, BODY SIZE in bytes. Prints one line of JSON at the end.
-- wrk itself calls `init` and then renders the request once.

function init(args)
  wrk.method = args[1] or "GET"
  local size = tonumber(args[2] or "0")
  if size > 0 then
    wrk.body = string.rep("x", size)
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"seconds": %.6f, "requests": %d, "bytes": %d, "p50": %.6f, "p99": %.6f, ' ..
    '"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\n',
    summary.duration / 1e6, summary.requests, summary.bytes,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    e.connect, e.read, e.write, e.status, e.timeout))
end
