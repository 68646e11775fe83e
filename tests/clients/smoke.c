/* hiredis: commands, a pipeline, a transaction, messages, a script, RESP3. Usage: smoke PORT */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(int holds, const char *what) {
    if (!holds) {
        printf("failed: %s\n", what);
        exit(1);
    }
}

static redisContext *join(int port) {
    redisContext *c = redisConnect("127.0.0.1", port);
    check(c != NULL && !c->err, "a connection");
    return c;
}

static redisReply *ask(redisContext *c, const char *format, const char *word) {
    redisReply *reply = redisCommand(c, format, word);
    check(reply != NULL, c->errstr);
    return reply;
}

int main(int argc, char **argv) {
    check(argc == 2, "a port");
    int port = atoi(argv[1]);
    redisContext *c = join(port), *listener = join(port);
    redisReply *r = ask(c, "SET key %s", "a value");
    check(r->type == REDIS_REPLY_STATUS && !strcmp(r->str, "OK"), "SET");
    r = ask(c, "GET %s", "key");
    check(r->type == REDIS_REPLY_STRING && !strcmp(r->str, "a value"), "GET");
    check(ask(c, "GET %s", "none")->type == REDIS_REPLY_NIL, "GET of nothing");
    r = ask(c, "LPUSH %s x", "key");
    check(r->type == REDIS_REPLY_ERROR && !strncmp(r->str, "WRONGTYPE ", 10), "an error");
    for (int i = 0; i < 1000; i++) redisAppendCommand(c, "INCR n");
    for (int i = 1; i <= 1000; i++) {
        check(redisGetReply(c, (void **)&r) == REDIS_OK && r->integer == i, "a pipeline");
        freeReplyObject(r);
    }
    ask(c, "MULTI%s", "");
    check(!strcmp(ask(c, "HSET h f %s", "v")->str, "QUEUED"), "QUEUED");
    ask(c, "HGETALL %s", "h");
    r = ask(c, "EXEC%s", "");
    check(r->elements == 2 && r->element[1]->elements == 2, "EXEC");
    check(!strcmp(r->element[1]->element[1]->str, "v"), "HGETALL");
    r = ask(c, "EVAL %s 1 n", "return {redis.call('GET', KEYS[1]), 7}");
    check(!strcmp(r->element[0]->str, "1000") && r->element[1]->integer == 7, "EVAL");
    ask(listener, "SUBSCRIBE %s", "channel");
    check(ask(c, "PUBLISH channel %s", "hello")->integer == 1, "PUBLISH");
    check(redisGetReply(listener, (void **)&r) == REDIS_OK && !strcmp(r->element[2]->str, "hello"), "a message");
#ifdef REDIS_REPLY_MAP
    r = ask(c, "HELLO %s", "3");
    check(r->type == REDIS_REPLY_MAP, "HELLO 3");
    check(ask(c, "HGETALL %s", "h")->type == REDIS_REPLY_MAP, "a map");
#endif
    puts("all is well");
    return 0;
}
