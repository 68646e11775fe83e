# redis-rb: commands, a pipeline, a transaction, messages, a script. Usage: ruby smoke.rb PORT
begin
  require 'redis'
rescue LoadError
  puts 'skipped, all is well: redis-rb is not installed'
  exit
end

def check(holds, what)
  return if holds
  puts "failed: #{what}"
  exit 1
end

port = ARGV[0].to_i
r = Redis.new(host: '127.0.0.1', port: port)
check r.set('key', 'value', ex: 100) == 'OK' && r.get('key') == 'value', 'strings'
check r.get('none').nil? && r.ttl('key') > 90, 'nothing, and times'
r.mapped_hmset('h', 'a' => '1', 'b' => '2')
check r.hgetall('h') == { 'a' => '1', 'b' => '2' }, 'hashes'
r.zadd('z', [[1.5, 'one'], [2.5, 'two']])
check r.zrange('z', 0, -1, with_scores: true) == [['one', 1.5], ['two', 2.5]], 'sorted sets'
check r.pipelined { |p| 500.times { p.incr('n') } } == (1..500).to_a, 'a pipeline'
replies = r.watch('n') { r.multi { |t| t.set('n', 7); t.get('n') } }
check replies == ['OK', '7'], 'a transaction'
check r.eval('return {KEYS[1], ARGV[1]}', ['k'], ['a']) == %w[k a], 'a script'
check r.evalsha(r.script(:load, 'return 5')) == 5, 'EVALSHA'
begin
  r.lpush('key', 'x')
  check false, 'an error'
rescue Redis::CommandError => e
  check e.message.start_with?('WRONGTYPE '), 'its text'
end
check r.xadd('s', { 'f' => 'v' }, id: '1-1') == '1-1' && r.xrange('s') == [['1-1', { 'f' => 'v' }]], 'streams'
check r.scan_each.to_a.sort == %w[h key n s z], 'SCAN'
listener = Redis.new(host: '127.0.0.1', port: port)
heard = nil
listener.subscribe('channel') do |on|
  on.subscribe { r.publish('channel', 'hello') }
  on.message do |_, message|
    heard = message
    listener.unsubscribe
  end
end
check heard == 'hello', 'a message'
puts "redis-rb #{Redis::VERSION}: all is well"
