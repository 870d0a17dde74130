-- The requests that wrk sends, and its report: see wrk.rs, which passes the arguments.
--
-- Every request is made before the first is sent, and no `response` function is defined: the load
-- generator shares two cores with the server, so what it does per request is kept to a table look-up,
-- the same for every server and every kind of request.

local PREPARED = 1024

local threads = 0
local requests = {}
local turn = 0
-- The parts of a fresh key before and after its number.
local heads, tails = {}, {}
local sent = 0
local PLACE = "000000000000"

-- Called once a thread, in the main one: gives each its own seed, and so its own cursors.
function setup(thread)
  threads = threads + 1
  thread:set("seed", threads)
end

function init(args)
  local method, path, low, high, tokens, body = args[1], args[2], tonumber(args[3]), tonumber(args[4]), {}, args[6]
  local keys, run = args[7], args[8]
  if body == "" then body = nil end
  for token in io.lines(args[5]) do tokens[#tokens + 1] = token end
  math.randomseed(seed)
  for i = 1, PREPARED do
    local headers = {
      ["Authorization"] = "Bearer " .. tokens[i % #tokens + 1],
      ["Content-Type"] = body and "application/json",
    }
    if keys ~= "none" then
      headers["Idempotency-Key"] = string.format('"%s-%d-%s"', run, keys == "fresh" and seed or 0, PLACE)
    end
    -- A path without a %d ignores the number.
    requests[i] = wrk.format(method, string.format(path, math.random(low, high)), headers, body)
    if keys == "fresh" then
      local from, to = string.find(requests[i], PLACE, 1, true)
      heads[i], tails[i] = string.sub(requests[i], 1, from - 1), string.sub(requests[i], to + 1)
    end
  end
end

function request()
  turn = turn % PREPARED + 1
  if heads[turn] then
    sent = sent + 1
    return heads[turn] .. string.format("%012d", sent) .. tails[turn]
  end
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'sample {"requests":%d,"micros":%d,"p50":%d,"p99":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
