-- Prints wrk's own numbers as JSON: exact microseconds instead of its rounded text.
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\nresult {"requests":%d,"duration_us":%d,"errors":%d,"statuses":%d,"p50_us":%d,"p90_us":%d,"p99_us":%d,"max_us":%d}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.timeout, e.status,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max))
end
