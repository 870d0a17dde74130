-- What wrk sends, and how it reports: see wrk.rs, which passes the arguments.
--
-- Every request is made before the first is sent, and no `response` function is defined: the load
-- generator shares two cores with the server, so what it does per request is kept to a table look-up,
-- the same for every server and every kind of request.

local PREPARED = 1024

local threads = 0
local requests = {}
local turn = 0

-- Called once a thread, in the main one: gives each its own seed, and so its own cursors.
function setup(thread)
  threads = threads + 1
  thread:set("seed", threads)
end

function init(args)
  local method, path, low, high, tokens, body = args[1], args[2], tonumber(args[3]), tonumber(args[4]), {}, args[6]
  if body == "" then body = nil end
  for token in io.lines(args[5]) do tokens[#tokens + 1] = token end
  math.randomseed(seed)
  for i = 1, PREPARED do
    local headers = {
      ["Authorization"] = "Bearer " .. tokens[i % #tokens + 1],
      ["Content-Type"] = body and "application/json",
    }
    -- A path without a %d ignores the number.
    requests[i] = wrk.format(method, string.format(path, math.random(low, high)), headers, body)
  end
end

function request()
  turn = turn % PREPARED + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'sample {"requests":%d,"micros":%d,"p50":%d,"p99":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
