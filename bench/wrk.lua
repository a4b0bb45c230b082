-- The load of the benchmark: what wrk sends, and the figures that it prints.
--
-- Arguments: `upload SIZE KEYS` (a form with one file, to the given URL), `put SIZE KEYS` (the bare bytes, to a
-- path of its own below the given URL), or `get PATHS KEYS` (the files named in PATHS, one after the other).
-- KEYS is a file with a credential on each line; they take turns. The bytes of each upload are unique.

local boundary = "bench-boundary-7f3a9c51d2"
local kind, size, paths, keys, filler
local number = 0

local function lines(file)
  local found = {}
  for line in io.lines(file) do found[#found + 1] = line end
  return found
end

function init(args)
  kind = args[1]
  if kind == "get" then paths = lines(args[2]) else size = tonumber(args[2]) end
  keys = lines(args[3])
  math.randomseed(os.time() + tonumber(tostring({}):match("0x(%x+)"), 16) % 100000)
  run = string.format("%08x", math.random(0, 0x7fffffff))
  if size then
    local bytes = {}
    for i = 1, size - 24 do bytes[i] = string.char(math.random(0, 255)) end
    filler = table.concat(bytes)
  end
end

function request()
  number = number + 1
  local headers = { ["Authorization"] = "Bearer " .. keys[number % #keys + 1] }
  if kind == "get" then
    return wrk.format("GET", paths[number % #paths + 1], headers)
  end
  local unique = string.format("%s%016x", run, number) .. filler
  if kind == "put" then
    return wrk.format("PUT", wrk.path .. run .. "-" .. number, headers, unique)
  end
  headers["Content-Type"] = "multipart/form-data; boundary=" .. boundary
  return wrk.format("POST", wrk.path, headers, "--" .. boundary ..
    '\r\nContent-Disposition: form-data; name="file"; filename="data.bin"\r\n' ..
    "Content-Type: application/octet-stream\r\n\r\n" .. unique .. "\r\n--" .. boundary .. "--\r\n")
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
