-- redis-lua: commands, a pipeline, a transaction, messages, a script. Usage: lua5.1 smoke.lua PORT
local found, redis = pcall(require, 'redis')
if not found then
  print('skipped, all is well: redis-lua is not installed')
  return
end

local function check(holds, what)
  if not holds then
    print('failed: ' .. what)
    os.exit(1)
  end
end

local port = tonumber(arg[1])
local r = redis.connect('127.0.0.1', port)
check(r:ping() and r:set('key', 'value') and r:get('key') == 'value', 'strings')
check(r:get('none') == nil, 'nothing')
r:hmset('h', 'a', '1', 'b', '2')
local h = r:hgetall('h')
check(h.a == '1' and h.b == '2', 'hashes')
local replies = r:pipeline(function(p)
  for _ = 1, 500 do p:incr('n') end
end)
check(#replies == 500 and replies[500] == 500, 'a pipeline')
replies = r:transaction({ cas = true, watch = { 'n' } }, function(t)
  local n = t:get('n')
  t:multi()
  t:set('n', n + 1)
  t:get('n')
end)
check(replies[2] == '501', 'a transaction')
replies = r:eval('return {KEYS[1], ARGV[1]}', 1, 'k', 'a')
check(replies[1] == 'k' and replies[2] == 'a', 'a script')
local fine, why = pcall(r.lpush, r, 'key', 'x')
check(not fine and tostring(why):find('WRONGTYPE', 1, true), 'an error')
local listener = redis.connect('127.0.0.1', port)
for message, stop in listener:pubsub({ subscribe = 'channel' }) do
  if message.kind == 'subscribe' then r:publish('channel', 'hello') end
  if message.kind == 'message' then
    check(message.payload == 'hello', 'a message')
    stop()
  end
end
print('redis-lua: all is well')
