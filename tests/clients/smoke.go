// go-redis v5 and redigo, as Debian has them: commands, a pipeline, a transaction, messages, a script.
// Usage: GO111MODULE=off GOPATH=/usr/share/gocode go run smoke.go PORT
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/gomodule/redigo/redis"
	goredis "gopkg.in/redis.v5"
)

func check(holds bool, what string) {
	if !holds {
		fmt.Println("failed:", what)
		os.Exit(1)
	}
}

func withGoRedis(address string) {
	r := goredis.NewClient(&goredis.Options{Addr: address})
	check(r.Set("key", "value", 0).Err() == nil && r.Get("key").Val() == "value", "strings")
	check(r.Get("none").Err() == goredis.Nil, "nothing")
	r.HMSet("h", map[string]string{"a": "1", "b": "2"})
	check(len(r.HGetAll("h").Val()) == 2, "hashes")
	pipe := r.Pipeline()
	for i := 0; i < 500; i++ {
		pipe.Incr("n")
	}
	replies, err := pipe.Exec()
	check(err == nil && len(replies) == 500, "a pipeline")
	err = r.Watch(func(tx *goredis.Tx) error {
		_, err := tx.Pipelined(func(p *goredis.Pipeline) error {
			p.Set("n", 7, 0)
			return nil
		})
		return err
	}, "n")
	check(err == nil && r.Get("n").Val() == "7", "a transaction")
	script := goredis.NewScript("return KEYS[1] .. ARGV[1]")
	said, err := script.Run(r, []string{"k"}, "a").Result()
	check(err == nil && said == "ka", "a script")
	err = r.LPush("key", "x").Err()
	check(err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE "), "an error")
	listener, err := r.Subscribe("channel")
	check(err == nil, "SUBSCRIBE")
	for r.Publish("channel", "hello").Val() == 0 {
	}
	message, err := listener.ReceiveMessage()
	check(err == nil && message.Payload == "hello", "a message")
	r.FlushAll()
}

func withRedigo(address string) {
	c, err := redis.Dial("tcp", address)
	check(err == nil, "a connection")
	c.Do("HSET", "h", "a", 1, "b", 2)
	h, err := redis.IntMap(c.Do("HGETALL", "h"))
	check(err == nil && h["a"] == 1 && h["b"] == 2, "hashes")
	for i := 0; i < 500; i++ {
		c.Send("INCR", "n")
	}
	c.Flush()
	for i := 1; i <= 500; i++ {
		n, err := redis.Int(c.Receive())
		check(err == nil && n == i, "a pipeline")
	}
	c.Send("MULTI")
	c.Send("SET", "k", "v")
	c.Send("GET", "k")
	replies, err := redis.Strings(c.Do("EXEC"))
	check(err == nil && replies[1] == "v", "a transaction")
	said, err := redis.Strings(redis.NewScript(1, "return {KEYS[1], ARGV[1]}").Do(c, "k", "a"))
	check(err == nil && said[1] == "a", "a script")
	_, err = c.Do("LPUSH", "k", "x")
	check(err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE "), "an error")
	second, _ := redis.Dial("tcp", address)
	listener := redis.PubSubConn{Conn: second}
	listener.Subscribe("channel")
	_, subscribed := listener.Receive().(redis.Subscription)
	check(subscribed, "SUBSCRIBE")
	c.Do("PUBLISH", "channel", "hello")
	message, heard := listener.Receive().(redis.Message)
	check(heard && string(message.Data) == "hello", "a message")
	c.Do("FLUSHALL")
}

func main() {
	address := "127.0.0.1:" + os.Args[1]
	withGoRedis(address)
	withRedigo(address)
	fmt.Println("go-redis v5, redigo: all is well")
}
