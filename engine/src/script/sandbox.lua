-- What scripts see. Runs once in a fresh state, and returns what the host calls.
--
-- Tables that scripts share (the globals, the libraries) must not be changed by them. Lua 5.1 has no tables
-- that are read-only, so each is an empty one in front of its content: reading goes through to the content,
-- writing raises an error, and the few functions that go past metatables are told of it.
--
-- Everything here is a local: no script can replace what the sandbox itself uses.

local host, globals, libraries, eval = ...

local error, type, tostring, select, rawequal = error, type, tostring, select, rawequal
local rawget_, rawset_, next_, pairs_ = rawget, rawset, next, pairs
local getmetatable_, setmetatable_ = getmetatable, setmetatable
local pcall_, xpcall_ = pcall, xpcall
local load_, loadstring_ = load, loadstring
local collectgarbage_ = collectgarbage
local tonumber = tonumber
local insert_, remove_, sort_ = table.insert, table.remove, table.sort
local resume_ = coroutine.resume
local byte, match = string.byte, string.match
local plain, ended, where, guard = host.plain, host.ended, host.where, host.guard

-- From a table that scripts see to what is in it, and to the metatable that they see.
local contents, metatables = {}, {}

local function refuse()
  error('Attempt to modify a readonly table', 2)
end

-- The same, of a function that stands in for one of Lua's.
local function refused()
  error('Attempt to modify a readonly table', 0)
end

local fronts = {}

local function seal(content, metatable, proxy)
  proxy = proxy or {}
  contents[proxy] = content
  metatables[proxy] = metatable
  fronts[proxy] = { __index = content, __newindex = refuse, __metatable = metatable or false }
  return setmetatable_(proxy, fronts[proxy])
end

local function expect_table(name, ...)
  local t = ...
  if type(t) ~= 'table' then
    local got = select('#', ...) == 0 and 'no value' or type(t)
    error("bad argument #1 to '" .. name .. "' (table expected, got " .. got .. ")", 3)
  end
end

-- Errors -------------------------------------------------------------------------------------------------

local function seen(e)
  if type(e) == 'userdata' then return plain(e) end
  return e
end

-- A script that is to end does not get away with catching that.
local function check()
  local why = ended()
  if why then error({ err = 'ERR ' .. why }) end
end

local function caught(ok, ...)
  if ok then return ok, ... end
  check()
  local e = seen((...))
  -- Scripts from before Redis 7 expect strings.
  if type(e) == 'table' then
    local text = e.err
    if type(text) == 'string' or type(text) == 'number' then e = text end
  end
  return false, e
end

local function caught_raw(ok, ...)
  if ok then return ok, ... end
  check()
  return false, seen((...))
end

local G = {}

function G.pcall(...)
  return caught(pcall_(...))
end

function G.xpcall(f, handler)
  return caught_raw(xpcall_(f, function(e)
    if ended() then return e end
    return handler(seen(e))
  end))
end

-- Tables -------------------------------------------------------------------------------------------------

function G.rawget(...)
  expect_table('rawget', ...)
  local t, k = ...
  return rawget_(contents[t] or t, k)
end

function G.rawset(...)
  expect_table('rawset', ...)
  local t, k, v = ...
  if contents[t] then refused() end
  return rawset_(t, k, v)
end

function G.next(...)
  expect_table('next', ...)
  local t, k = ...
  return next_(contents[t] or t, k)
end

function G.pairs(...)
  expect_table('pairs', ...)
  local t = ...
  if contents[t] then return G.next, t, nil end
  return next_, t, nil
end

function G.getmetatable(t)
  if contents[t] then return metatables[t] end
  return getmetatable_(t)
end

function G.setmetatable(t, metatable)
  if contents[t] then refused() end
  if type(t) == 'table' and (type(metatable) == 'table' or metatable == nil) then
    local own = getmetatable_(t)
    if own and rawget_(own, '__metatable') ~= nil then error('cannot change a protected metatable', 2) end
  end
  return setmetatable_(t, metatable)
end

-- Code: text only, since compiled code could do anything. While it is compiled its name must be somebody's, as C reads
-- it: Lua itself holds on to it too late (CVE-2025-49844).

local function named(name)
  if type(name) == 'string' then return (match(name, '^%Z*')) end
  return name
end

function G.loadstring(code, name)
  if type(code) == 'string' and byte(code) == 27 then
    return nil, "bad binary format (truncated precompiled chunk)"
  end
  name = named(name)
  return loadstring_(code, name)
end

function G.load(pieces, name)
  name = named(name)
  if type(pieces) ~= 'function' then return load_(pieces, name) end
  local first = true
  return load_(function()
    local piece = pieces()
    if first and type(piece) == 'string' and piece ~= '' then
      first = false
      if byte(piece) == 27 then error('bad binary format (truncated precompiled chunk)', 0) end
    end
    return piece
  end, name)
end

function G.collectgarbage(what, n)
  if what == nil or what == 'collect' or what == 'count' or what == 'step' then
    return collectgarbage_(what, n)
  end
  -- How the collector goes about its work is not for one script to decide.
  if what == 'stop' or what == 'restart' then return 0 end
  if what == 'setpause' or what == 'setstepmul' then return 200 end
  return collectgarbage_(what, n)
end

-- Put together ----------------------------------------------------------------------------------------------

for _, name in pairs_({ '_VERSION', 'assert', 'error', 'gcinfo', 'ipairs', 'rawequal', 'select', 'tonumber',
  'tostring', 'type' }) do
  G[name] = globals[name]
end
G.unpack = host.unpack

local tables = {}
for k, v in pairs_(globals.table) do tables[k] = v end

function tables.insert(...)
  expect_table('insert', ...)
  local t, at, v = ...
  if contents[t] then refused() end
  local n = select('#', ...)
  if n == 2 then return insert_(t, at) end
  if n ~= 3 then error("wrong number of arguments to 'insert'", 2) end
  if type(at) ~= 'number' then
    if not tonumber(at) then
      error("bad argument #2 to 'insert' (number expected, got " .. type(at) .. ")", 2)
    end
    at = tonumber(at)
  end
  -- What lies before the first element need not be moved.
  if at < 1 and #t > 0 then
    t[at] = v
    return
  end
  return insert_(t, at < 0 and 0 or at, v)
end

function tables.remove(...)
  expect_table('remove', ...)
  if contents[(...)] then refused() end
  return remove_(...)
end

function tables.sort(...)
  expect_table('sort', ...)
  if contents[(...)] then refused() end
  return sort_(...)
end

local strings = {}
for k, v in pairs_(globals.string) do strings[k] = v end

local maths = {}
for k, v in pairs_(globals.math) do maths[k] = v end

local coroutines = {}
for k, v in pairs_(coroutine) do coroutines[k] = v end

function coroutines.resume(...)
  return caught_raw(resume_(...))
end

-- Functions of the host cannot take any number of arguments.
local too_many = { pack = "bad argument #0 to 'pack' (Too many arguments for MessagePack pack.)" }

local function guarded(library)
  for name, f in pairs_(library) do
    if type(f) == 'function' then library[name] = guard(f, too_many[name]) end
  end
  return library
end

for _, library in pairs_(libraries) do guarded(library) end
for name, f in pairs_(host.asking) do libraries.redis[name] = f end
local new = libraries.cjson.new
libraries.cjson.new = guard(function() return guarded(new()) end)
if host.loading then guarded(host.loading) end
for name, f in pairs_(guarded(host.strings)) do strings[name] = f end
for name, f in pairs_(guarded(host.math)) do maths[name] = f end
G.table, G.string, G.math, G.coroutine = seal(tables), seal(strings), seal(maths), seal(coroutines)
for name, library in pairs_(libraries) do G[name] = seal(library) end
G._G = globals

-- Strings have their methods, and scripts cannot give them others.
local of_strings = getmetatable_('')
of_strings.__index = strings
of_strings.__metatable = seal({ __index = G.string })

local function missing(_, name)
  local kind = type(name)
  if kind ~= 'string' and kind ~= 'number' then
    error('Second argument to luaProtectedTableError must be a string or number', 2)
  end
  error("Script attempted to access nonexistent global variable '" .. name .. "'", 2)
end

local function handler(e)
  e = seen(e)
  local source, line = where()
  if type(e) ~= 'table' then e = { err = 'ERR ' .. tostring(e) } end
  if source and not contents[e] then
    rawset_(e, 'source', source)
    rawset_(e, 'line', line)
  end
  return e
end

if eval then G.__redis__err__handler = handler end

for name in pairs_(globals) do globals[name] = nil end
setmetatable_(G, { __index = missing })
seal(G, seal({ __index = missing }), globals)

-- Where scripts find KEYS and ARGV: functions have them as arguments.
if eval then return handler, nil, G end

-- While a library is loaded it sees nothing but how to declare functions.
local loading = { redis = seal(setmetatable_(host.loading, { __index = missing })) }
setmetatable_(loading, { __index = missing })
local front = fronts[globals]

local function load(f)
  front.__index, contents[globals] = loading, loading
  local ok, e = xpcall_(f, handler)
  front.__index, contents[globals] = G, G
  return ok, e
end

return handler, load, nil
