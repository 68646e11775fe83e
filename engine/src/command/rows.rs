//! The rows of the command table: name, arity, flags, ACL categories, keys, tips, handler.
//!
//! The facts are those of COMMAND INFO in Redis 7.0.

use super::table::Handler::{Data, Server};
use super::table::key::{ACCESS, DELETE, INSERT, OW, RO, RW, UPDATE, VARIABLE_FLAGS};
use super::table::{Command, at, commands, span};
use super::{connection, persistence, replication, string, transaction};

/// All commands, by group.
pub static GROUPS: &[&[Command]] = &[STRING, REPLICATION, PERSISTENCE, TRANSACTION, CONNECTION];

static STRING: &[Command] = &commands! {
    "get" 2 [READONLY FAST] [READ STRING FAST] [at(1, RO | ACCESS)] [] Data(string::get);
    "set" -3 [WRITE DENYOOM] [WRITE STRING SLOW] [at(1, RW | ACCESS | UPDATE | VARIABLE_FLAGS)] [] Data(string::set);
    "setnx" 3 [WRITE DENYOOM FAST] [WRITE STRING FAST] [at(1, OW | INSERT)] [] Data(string::setnx);
    "setex" 4 [WRITE DENYOOM] [WRITE STRING SLOW] [at(1, OW | UPDATE)] [] Data(string::setex);
    "psetex" 4 [WRITE DENYOOM] [WRITE STRING SLOW] [at(1, OW | UPDATE)] [] Data(string::psetex);
    "getset" 3 [WRITE DENYOOM FAST] [WRITE STRING FAST] [at(1, RW | ACCESS | UPDATE)] [] Data(string::getset);
    "getdel" 2 [WRITE FAST] [WRITE STRING FAST] [at(1, RW | ACCESS | DELETE)] [] Data(string::getdel);
    "getex" -2 [WRITE FAST] [WRITE STRING FAST] [at(1, RW | ACCESS | UPDATE)] [] Data(string::getex);
    "mget" -2 [READONLY FAST] [READ STRING FAST] [span(1, -1, 1, RO | ACCESS)] ["request_policy:multi_shard"] Data(string::mget);
    "mset" -3 [WRITE DENYOOM] [WRITE STRING SLOW] [span(1, -1, 2, OW | UPDATE)] ["request_policy:multi_shard", "response_policy:all_succeeded"] Data(string::mset);
    "msetnx" -3 [WRITE DENYOOM] [WRITE STRING SLOW] [span(1, -1, 2, OW | INSERT)] [] Data(string::msetnx);
    "append" 3 [WRITE DENYOOM FAST] [WRITE STRING FAST] [at(1, RW | INSERT)] [] Data(string::append);
    "strlen" 2 [READONLY FAST] [READ STRING FAST] [at(1, RO)] [] Data(string::strlen);
    "incr" 2 [WRITE DENYOOM FAST] [WRITE STRING FAST] [at(1, RW | ACCESS | UPDATE)] [] Data(string::incr);
    "decr" 2 [WRITE DENYOOM FAST] [WRITE STRING FAST] [at(1, RW | ACCESS | UPDATE)] [] Data(string::decr);
    "incrby" 3 [WRITE DENYOOM FAST] [WRITE STRING FAST] [at(1, RW | ACCESS | UPDATE)] [] Data(string::incrby);
    "decrby" 3 [WRITE DENYOOM FAST] [WRITE STRING FAST] [at(1, RW | ACCESS | UPDATE)] [] Data(string::decrby);
    "setrange" 4 [WRITE DENYOOM] [WRITE STRING SLOW] [at(1, RW | UPDATE)] [] Data(string::setrange);
    "getrange" 4 [READONLY] [READ STRING SLOW] [at(1, RO | ACCESS)] [] Data(string::getrange);
    "substr" 4 [READONLY] [READ STRING SLOW] [at(1, RO | ACCESS)] [] Data(string::substr);
};

static REPLICATION: &[Command] = &commands! {
    "replicaof" 3 [NO_ASYNC_LOADING ADMIN NOSCRIPT STALE] [ADMIN SLOW DANGEROUS] [] [] Server(replication::replicaof);
    "slaveof" 3 [NO_ASYNC_LOADING ADMIN NOSCRIPT STALE] [ADMIN SLOW DANGEROUS] [] [] Server(replication::slaveof);
    "replconf" -1 [ADMIN NOSCRIPT LOADING STALE ALLOW_BUSY] [ADMIN SLOW DANGEROUS] [] [] Server(replication::replconf);
    "psync" -3 [NO_ASYNC_LOADING ADMIN NO_MULTI NOSCRIPT] [ADMIN SLOW DANGEROUS] [] [] Server(replication::psync);
    "sync" 1 [NO_ASYNC_LOADING ADMIN NO_MULTI NOSCRIPT] [ADMIN SLOW DANGEROUS] [] [] Server(replication::sync);
    "role" 1 [NOSCRIPT LOADING STALE FAST] [ADMIN FAST DANGEROUS] [] [] Server(replication::role);
    "wait" 3 [BLOCKING] [SLOW BLOCKING CONNECTION] [] ["request_policy:all_shards", "response_policy:agg_min"] Server(replication::wait);
};

static TRANSACTION: &[Command] = &commands! {
    "multi" 1 [NOSCRIPT LOADING STALE FAST NO_MULTI ALLOW_BUSY] [FAST TRANSACTION] [] [] Server(transaction::multi);
    "exec" 1 [NOSCRIPT LOADING STALE SKIP_SLOWLOG] [SLOW TRANSACTION] [] [] Server(transaction::exec);
    "discard" 1 [NOSCRIPT LOADING STALE FAST ALLOW_BUSY] [FAST TRANSACTION] [] [] Server(transaction::discard);
    "watch" -2 [NOSCRIPT LOADING STALE FAST NO_MULTI ALLOW_BUSY] [FAST TRANSACTION] [span(1, -1, 1, RO)] [] Server(transaction::watch);
    "unwatch" 1 [NOSCRIPT LOADING STALE FAST ALLOW_BUSY] [FAST TRANSACTION] [] [] Server(transaction::unwatch);
};

static CONNECTION: &[Command] = &commands! {
    "ping" -1 [FAST] [FAST CONNECTION] [] ["request_policy:all_shards", "response_policy:all_succeeded"] Server(connection::ping);
    "echo" 2 [LOADING STALE FAST] [FAST CONNECTION] [] [] Server(connection::echo);
    "hello" -1 [NOSCRIPT LOADING STALE FAST NO_AUTH ALLOW_BUSY] [FAST CONNECTION] [] [] Server(connection::hello);
    "auth" -2 [NOSCRIPT LOADING STALE FAST NO_AUTH ALLOW_BUSY] [FAST CONNECTION] [] [] Server(connection::auth);
    "quit" -1 [ALLOW_BUSY NOSCRIPT LOADING STALE FAST NO_AUTH] [FAST CONNECTION] [] [] Server(connection::quit);
    "reset" 1 [NOSCRIPT LOADING STALE FAST NO_AUTH ALLOW_BUSY] [FAST CONNECTION] [] [] Server(connection::reset);
    "select" 2 [LOADING STALE FAST] [FAST CONNECTION] [] [] Server(connection::select);
};

static PERSISTENCE: &[Command] = &commands! {
    "lastsave" 1 [LOADING STALE FAST] [ADMIN FAST DANGEROUS] [] ["nondeterministic_output"] Server(persistence::lastsave);
    "save" 1 [NO_ASYNC_LOADING ADMIN NOSCRIPT NO_MULTI] [ADMIN SLOW DANGEROUS] [] [] Server(persistence::save);
    "bgsave" -1 [NO_ASYNC_LOADING ADMIN NOSCRIPT] [ADMIN SLOW DANGEROUS] [] [] Server(persistence::bgsave);
    "bgrewriteaof" 1 [NO_ASYNC_LOADING ADMIN NOSCRIPT] [ADMIN SLOW DANGEROUS] [] [] Server(persistence::bgrewriteaof);
    "shutdown" -1 [ADMIN NOSCRIPT LOADING STALE NO_MULTI ALLOW_BUSY] [ADMIN SLOW DANGEROUS] [] [] Server(persistence::shutdown);
};
