<?php
// phpredis and Predis, those that are installed: commands, a pipeline, a transaction, messages, a script.
// Usage: php smoke.php PORT
function check($holds, $what) {
    if (!$holds) {
        echo "failed: $what\n";
        exit(1);
    }
}

$port = (int)$argv[1];
$found = [];

if (class_exists('Redis')) {
    $found[] = 'phpredis';
    $r = new Redis();
    $r->connect('127.0.0.1', $port, 5);
    check($r->set('key', 'value', ['ex' => 100]) && $r->get('key') === 'value', 'strings');
    check($r->get('none') === false && $r->ttl('key') > 90, 'nothing, and times');
    $r->hMSet('h', ['a' => '1', 'b' => '2']);
    check($r->hGetAll('h') == ['a' => '1', 'b' => '2'], 'hashes');
    $r->zAdd('z', 1.5, 'one', 2.5, 'two');
    check($r->zRange('z', 0, -1, true) == ['one' => 1.5, 'two' => 2.5], 'sorted sets');
    $pipe = $r->pipeline();
    for ($i = 0; $i < 500; $i++) $pipe->incr('n');
    check($pipe->exec() === range(1, 500), 'a pipeline');
    check($r->multi()->set('k', 'v')->get('k')->exec() === [true, 'v'], 'a transaction');
    check($r->eval("return {KEYS[1], ARGV[1]}", ['k', 'a'], 1) === ['k', 'a'], 'a script');
    check($r->lPush('key', 'x') === false && strpos($r->getLastError(), 'WRONGTYPE ') === 0, 'an error');
    check($r->xAdd('s', '1-1', ['f' => 'v']) === '1-1' && $r->xRange('s', '-', '+') === ['1-1' => ['f' => 'v']], 'streams');
    $it = null;
    $seen = 0;
    while (($keys = $r->scan($it)) !== false) $seen += count($keys);
    check($seen === $r->dbSize(), 'SCAN');
    if (function_exists('pcntl_fork')) {
        $heard = null;
        if (pcntl_fork() === 0) {
            $speaker = new Redis();
            $speaker->connect('127.0.0.1', $port, 5);
            while ($speaker->publish('channel', 'hello') === 0);
            exit(0);
        }
        $listener = new Redis();
        $listener->connect('127.0.0.1', $port, 5);
        $listener->setOption(Redis::OPT_READ_TIMEOUT, 0.5);
        try {
            $listener->subscribe(['channel'], function ($listener, $channel, $message) use (&$heard) {
                $heard = $message;
            });
        } catch (RedisException $silence) { // It listens until nobody speaks.
        }
        check($heard === 'hello', 'a message');
    }
    $r->flushAll();
}

if ((@include 'Predis/autoload.php') || (@include '/usr/share/php/Predis/Autoloader.php')) {
    class_exists('Predis\Client') || Predis\Autoloader::register();
    $found[] = 'Predis';
    $r = new Predis\Client(['host' => '127.0.0.1', 'port' => $port]);
    check((string)$r->set('key', 'value') === 'OK' && $r->get('key') === 'value', 'strings');
    $r->hmset('h', ['a' => '1', 'b' => '2']);
    check($r->hgetall('h') == ['a' => '1', 'b' => '2'], 'hashes');
    $replies = $r->pipeline(function ($pipe) {
        for ($i = 0; $i < 500; $i++) $pipe->incr('n');
    });
    check($replies === range(1, 500), 'a pipeline');
    $replies = $r->transaction(['cas' => true, 'watch' => 'n', 'retry' => 1], function ($tx) {
        $n = $tx->get('n');
        $tx->multi();
        $tx->set('n', $n * 2);
        $tx->get('n');
    });
    check($replies[1] === '1000', 'a transaction');
    check($r->eval('return {KEYS[1], ARGV[1]}', 1, 'k', 'a') === ['k', 'a'], 'a script');
    try {
        $r->lpush('key', 'x');
        check(false, 'an error');
    } catch (Predis\Response\ServerException $e) {
        check($e->getErrorType() === 'WRONGTYPE', 'its type');
    }
    $loop = (new Predis\Client(['host' => '127.0.0.1', 'port' => $port]))->pubSubLoop();
    $loop->subscribe('channel');
    foreach ($loop as $message) {
        if ($message->kind === 'subscribe') $r->publish('channel', 'hello');
        if ($message->kind === 'message') {
            check($message->payload === 'hello', 'a message');
            $loop->unsubscribe();
        }
    }
    $r->flushall();
}

echo $found ? implode(', ', $found) . ": all is well\n" : "skipped, all is well: no client is installed\n";
