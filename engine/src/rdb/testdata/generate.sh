#!/bin/sh
# Writes the golden snapshots of this directory with a real redis-server (7.0.15 wrote those checked in).
# Usage: generate.sh [directory]
set -e
out=$(cd "${1:-$(dirname "$0")}" && pwd)
port=20977
tmp=$(mktemp -d)
cli() { redis-cli -p $port "$@" >/dev/null; }
start() {
    redis-server --port $port --dir "$tmp" --save "" --dbfilename "$name.rdb" "$@" >/dev/null &
    pid=$!
    until redis-cli -p $port ping >/dev/null 2>&1; do sleep 0.1; done
}
finish() {
    cli save
    cli shutdown nosave || true
    wait $pid || true
    cp "$tmp/$name.rdb" "$out/$name.rdb"
}

name=values
start
for number in 0 -1 127 128 -128 -129 32767 32768 -32769 2147483647 -2147483648 2147483648 9223372036854775807; do
    cli set "int:$number" $number
done
cli set text "plain text"
cli set empty ""
cli set 12345 "an integer key"
cli set compressible "$(printf 'abcdefgh%.0s' $(seq 100))"
cli set long "$(seq 1 4000 | tr '\n' ' ')"
printf 'a\000b\377\r\n' | redis-cli -p $port -x set binary >/dev/null
cli set expires soon pxat 4102444800123
cli hset small a 1 b -70000 c "some text" 5 "$(printf 'x%.0s' $(seq 64))"
cli hset wide "$(printf 'f%.0s' $(seq 65))" value 42 43
i=0; while [ $i -lt 600 ]; do set -- "$@" "field:$i" "value:$i"; i=$((i + 1)); done
cli hset table "$@"; set --
cli -n 9 set elsewhere 1
cli -n 9 hset other x y
cli -n 9 pexpireat other 4102444800456
cli function load '#!lua name=mylib
redis.register_function("f", function() return 1 end)'
finish

name=lru
start --maxmemory 100mb --maxmemory-policy allkeys-lru
cli set a 1
cli hset h x y
finish

name=lfu
start --maxmemory 100mb --maxmemory-policy allkeys-lfu
cli set a 1
finish

name=unchecked
start --rdbchecksum no --rdbcompression no
cli set compressible "$(printf 'abcdefgh%.0s' $(seq 100))"
finish

# Of newer servers there is one file each, made by hand with `save ""`:
# valkey-9.1-hash-times.rdb   HSET h f v g w, HEXPIRE h 1000000 FIELDS 1 f, SET k v, SAVE
# redis-8.0-cluster.rdb       cluster-enabled, all slots its own, SET k v, SAVE

rm -r "$tmp"
