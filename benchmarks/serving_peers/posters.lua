-- What wrk sends, in turn: the files that it is given, after their content type; and what it found, as JSON.

local sent, place = {}, 0

function init(arguments)
  for number = 2, #arguments do
    local file = assert(io.open(arguments[number], "rb"))
    sent[number - 1] = wrk.format("POST", nil, { ["Content-Type"] = arguments[1] }, file:read("*a"))
    file:close()
  end
end

function request()
  place = place % #sent + 1
  return sent[place]
end

function done(summary, latency)
  local errors = summary.errors
  io.stderr:write(string.format(
    '{"wall_s": %f, "answers": %d, "refused": %d, "broken": %d, "p50_ms": %f, "p99_ms": %f}\n',
    summary.duration / 1e6, summary.requests, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
