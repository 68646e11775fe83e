//! The rows of the command table: name, arity, flags, ACL categories, keys, tips, handler.
//!
//! The facts are those of COMMAND INFO in Redis 7.0.

use super::table::Handler::{Container, Data, Server};
use super::table::key::{
    ACCESS, DELETE, INCOMPLETE, INSERT, NOT_KEY, OW, RM, RO, RW, UPDATE, VARIABLE_FLAGS,
};
use super::table::{Command, at, commands, hidden, keyword, numbered, numbered_by, span, unknown};
use super::{
    acl, bitmap, client, cluster, cluster_stats, config, connection, debug, dump, expire,
    field_expiry, function, generic, geo, hash, hyperloglog, info, introspection, latency, lcs,
    list, list_blocking, lolwut, memory, migrate, module, monitor, object, persistence, pubsub,
    replication, scan, script, set, set_algebra, slowlog, sort, stream, string, tracking,
    transaction, zset,
};

/// All commands, by group.
pub static GROUPS: &[&[Command]] = &[
    STRING,
    GENERIC,
    EXPIRE,
    DUMP,
    HASH,
    SET,
    BITMAP,
    HYPERLOGLOG,
    GEO,
    STREAM,
    ZSET,
    LIST,
    TRANSACTION,
    CONNECTION,
    PERSISTENCE,
    REPLICATION,
    SERVER,
    CLUSTER_GROUP,
    PUBSUB_GROUP,
    OBSERVATION,
    SCRIPTING,
];

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
    "msetnx" -3 [WRITE DENYOOM] [WRITE STRING SLOW] [span(1, -1, 2, OW | INSERT)] ["request_policy:multi_shard", "response_policy:agg_min"] Data(string::msetnx);
    "append" 3 [WRITE DENYOOM FAST] [WRITE STRING FAST] [at(1, RW | INSERT)] [] Data(string::append);
    "strlen" 2 [READONLY FAST] [READ STRING FAST] [at(1, RO)] [] Data(string::strlen);
    "incr" 2 [WRITE DENYOOM FAST] [WRITE STRING FAST] [at(1, RW | ACCESS | UPDATE)] [] Data(string::incr);
    "decr" 2 [WRITE DENYOOM FAST] [WRITE STRING FAST] [at(1, RW | ACCESS | UPDATE)] [] Data(string::decr);
    "incrby" 3 [WRITE DENYOOM FAST] [WRITE STRING FAST] [at(1, RW | ACCESS | UPDATE)] [] Data(string::incrby);
    "decrby" 3 [WRITE DENYOOM FAST] [WRITE STRING FAST] [at(1, RW | ACCESS | UPDATE)] [] Data(string::decrby);
    "incrbyfloat" 3 [WRITE DENYOOM FAST] [WRITE STRING FAST] [at(1, RW | ACCESS | UPDATE)] [] Data(string::incrbyfloat);
    "setrange" 4 [WRITE DENYOOM] [WRITE STRING SLOW] [at(1, RW | UPDATE)] [] Data(string::setrange);
    "getrange" 4 [READONLY] [READ STRING SLOW] [at(1, RO | ACCESS)] [] Data(string::getrange);
    "substr" 4 [READONLY] [READ STRING SLOW] [at(1, RO | ACCESS)] [] Data(string::substr);
    "lcs" -3 [READONLY] [READ STRING SLOW] [span(1, 1, 1, RO | ACCESS)] [] Data(lcs::lcs);
    "delifeq" 3 [WRITE] [WRITE STRING SLOW] [at(1, RM | ACCESS | DELETE)] [] Data(string::delifeq);
    "msetex" -4 [WRITE DENYOOM MOVABLE_KEYS] [WRITE STRING SLOW] [numbered_by(1, 2, OW | UPDATE)] ["request_policy:multi_shard", "response_policy:all_succeeded"] Data(string::msetex);
};

static REPLICATION: &[Command] = &commands! {
    "replicaof" 3 [NO_ASYNC_LOADING ADMIN NOSCRIPT STALE] [ADMIN SLOW DANGEROUS] [] [] Server(replication::replicaof);
    "slaveof" 3 [NO_ASYNC_LOADING ADMIN NOSCRIPT STALE] [ADMIN SLOW DANGEROUS] [] [] Server(replication::slaveof);
    "failover" -1 [ADMIN NOSCRIPT STALE] [ADMIN SLOW DANGEROUS] [] [] Server(replication::failover);
    "replconf" -1 [ADMIN NOSCRIPT LOADING STALE ALLOW_BUSY] [ADMIN SLOW DANGEROUS] [] [] Server(replication::replconf);
    "psync" -3 [NO_ASYNC_LOADING ADMIN NO_MULTI NOSCRIPT] [ADMIN SLOW DANGEROUS] [] [] Server(replication::psync);
    "sync" 1 [NO_ASYNC_LOADING ADMIN NO_MULTI NOSCRIPT] [ADMIN SLOW DANGEROUS] [] [] Server(replication::sync);
    "role" 1 [NOSCRIPT LOADING STALE FAST] [ADMIN FAST DANGEROUS] [] [] Server(replication::role);
    "wait" 3 [NOSCRIPT] [SLOW CONNECTION] [] ["request_policy:all_shards", "response_policy:agg_min"] Server(replication::wait);
    "waitaof" 4 [BLOCKING] [SLOW BLOCKING CONNECTION] [] ["request_policy:all_shards", "response_policy:agg_min"] Server(replication::waitaof);
};

static LIST: &[Command] = &commands! {
    "lpush" -3 [WRITE DENYOOM FAST] [WRITE LIST FAST] [at(1, RW | INSERT)] [] Data(list::lpush);
    "rpush" -3 [WRITE DENYOOM FAST] [WRITE LIST FAST] [at(1, RW | INSERT)] [] Data(list::rpush);
    "lpushx" -3 [WRITE DENYOOM FAST] [WRITE LIST FAST] [at(1, RW | INSERT)] [] Data(list::lpushx);
    "rpushx" -3 [WRITE DENYOOM FAST] [WRITE LIST FAST] [at(1, RW | INSERT)] [] Data(list::rpushx);
    "lpop" -2 [WRITE FAST] [WRITE LIST FAST] [at(1, RW | ACCESS | DELETE)] [] Data(list::lpop);
    "rpop" -2 [WRITE FAST] [WRITE LIST FAST] [at(1, RW | ACCESS | DELETE)] [] Data(list::rpop);
    "llen" 2 [READONLY FAST] [READ LIST FAST] [at(1, RO)] [] Data(list::llen);
    "lindex" 3 [READONLY] [READ LIST SLOW] [at(1, RO | ACCESS)] [] Data(list::lindex);
    "linsert" 5 [WRITE DENYOOM] [WRITE LIST SLOW] [at(1, RW | INSERT)] [] Data(list::linsert);
    "lset" 4 [WRITE DENYOOM] [WRITE LIST SLOW] [at(1, RW | UPDATE)] [] Data(list::lset);
    "lrange" 4 [READONLY] [READ LIST SLOW] [at(1, RO | ACCESS)] [] Data(list::lrange);
    "ltrim" 4 [WRITE] [WRITE LIST SLOW] [at(1, RW | DELETE)] [] Data(list::ltrim);
    "lrem" 4 [WRITE] [WRITE LIST SLOW] [at(1, RW | DELETE)] [] Data(list::lrem);
    "lpos" -3 [READONLY] [READ LIST SLOW] [at(1, RO | ACCESS)] [] Data(list::lpos);
    "lmove" 5 [WRITE DENYOOM] [WRITE LIST SLOW] [at(1, RW | ACCESS | DELETE), at(2, RW | INSERT)] [] Data(list::lmove);
    "rpoplpush" 3 [WRITE DENYOOM] [WRITE LIST SLOW] [at(1, RW | ACCESS | DELETE), at(2, RW | INSERT)] [] Data(list::rpoplpush);
    "lmpop" -4 [WRITE MOVABLE_KEYS] [WRITE LIST SLOW] [numbered(1, RW | ACCESS | DELETE)] [] Data(list::lmpop);
    "blpop" -3 [WRITE NOSCRIPT BLOCKING] [WRITE LIST SLOW BLOCKING] [span(1, -2, 1, RW | ACCESS | DELETE)] [] Data(list_blocking::blpop);
    "brpop" -3 [WRITE NOSCRIPT BLOCKING] [WRITE LIST SLOW BLOCKING] [span(1, -2, 1, RW | ACCESS | DELETE)] [] Data(list_blocking::brpop);
    "blmove" 6 [WRITE DENYOOM NOSCRIPT BLOCKING] [WRITE LIST SLOW BLOCKING] [at(1, RW | ACCESS | DELETE), at(2, RW | INSERT)] [] Data(list_blocking::blmove);
    "brpoplpush" 4 [WRITE DENYOOM NOSCRIPT BLOCKING] [WRITE LIST SLOW BLOCKING] [at(1, RW | ACCESS | DELETE), at(2, RW | INSERT)] [] Data(list_blocking::brpoplpush);
    "blmpop" -5 [WRITE BLOCKING MOVABLE_KEYS] [WRITE LIST SLOW BLOCKING] [numbered(2, RW | ACCESS | DELETE)] [] Data(list_blocking::blmpop);
    "sort" -2 [WRITE DENYOOM MOVABLE_KEYS] [WRITE SET SORTEDSET LIST SLOW DANGEROUS] [at(1, RO | ACCESS), unknown(RO | ACCESS), hidden("STORE", OW | UPDATE)] [] Data(sort::sort);
    "sort_ro" -2 [READONLY MOVABLE_KEYS] [READ SET SORTEDSET LIST SLOW DANGEROUS] [at(1, RO | ACCESS), unknown(RO | ACCESS)] [] Data(sort::sort_ro);
};

static TRANSACTION: &[Command] = &commands! {
    "multi" 1 [NOSCRIPT LOADING STALE FAST ALLOW_BUSY] [FAST TRANSACTION] [] [] Server(transaction::multi);
    "exec" 1 [NOSCRIPT LOADING STALE SKIP_SLOWLOG] [SLOW TRANSACTION] [] [] Server(transaction::exec);
    "discard" 1 [NOSCRIPT LOADING STALE FAST ALLOW_BUSY] [FAST TRANSACTION] [] [] Server(transaction::discard);
    "watch" -2 [NOSCRIPT LOADING STALE FAST ALLOW_BUSY] [FAST TRANSACTION] [span(1, -1, 1, RO)] [] Server(transaction::watch);
    "unwatch" 1 [NOSCRIPT LOADING STALE FAST ALLOW_BUSY] [FAST TRANSACTION] [] [] Server(transaction::unwatch);
};

static CLIENT: &[Command] = &commands! {
    "client|capa" -3 [NOSCRIPT LOADING STALE] [SLOW CONNECTION] [] [] Server(client::capa);
    "client|import-source" 3 [NOSCRIPT LOADING STALE] [SLOW CONNECTION] [] [] Server(client::import_source);
    "client|no-touch" 3 [NOSCRIPT LOADING STALE] [SLOW CONNECTION] [] [] Server(client::no_touch);
    "client|caching" 3 [NOSCRIPT LOADING STALE] [SLOW CONNECTION] [] [] Server(tracking::caching);
    "client|getredir" 2 [NOSCRIPT LOADING STALE] [SLOW CONNECTION] [] [] Server(tracking::getredir);
    "client|tracking" -3 [NOSCRIPT LOADING STALE] [SLOW CONNECTION] [] [] Server(tracking::tracking);
    "client|trackinginfo" 2 [NOSCRIPT LOADING STALE] [SLOW CONNECTION] [] [] Server(tracking::trackinginfo);
    "client|getname" 2 [NOSCRIPT LOADING STALE] [SLOW CONNECTION] [] [] Server(client::getname);
    "client|help" 2 [LOADING STALE] [SLOW CONNECTION] [] [] Server(client::help);
    "client|id" 2 [NOSCRIPT LOADING STALE] [SLOW CONNECTION] [] [] Server(client::id);
    "client|info" 2 [NOSCRIPT LOADING STALE] [SLOW CONNECTION] [] ["nondeterministic_output"] Server(client::info);
    "client|kill" -3 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS CONNECTION] [] [] Server(client::kill);
    "client|list" -2 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS CONNECTION] [] ["nondeterministic_output"] Server(client::list);
    "client|no-evict" 3 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS CONNECTION] [] [] Server(client::no_evict);
    "client|reply" 3 [NOSCRIPT LOADING STALE] [SLOW CONNECTION] [] [] Server(client::reply);
    "client|setinfo" 4 [NOSCRIPT LOADING STALE] [SLOW CONNECTION] [] ["request_policy:all_nodes", "response_policy:all_succeeded"] Server(client::setinfo);
    "client|setname" 3 [NOSCRIPT LOADING STALE] [SLOW CONNECTION] [] [] Server(client::setname);
    "client|unblock" -3 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS CONNECTION] [] [] Server(client::unblock);
    "client|pause" -3 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS CONNECTION] [] [] Server(client::pause);
    "client|unpause" 2 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS CONNECTION] [] [] Server(client::unpause);
};

static CONNECTION: &[Command] = &commands! {
    "ping" -1 [FAST] [FAST CONNECTION] [] ["request_policy:all_shards", "response_policy:all_succeeded"] Server(connection::ping);
    "echo" 2 [LOADING STALE FAST] [FAST CONNECTION] [] [] Server(connection::echo);
    "hello" -1 [NOSCRIPT LOADING STALE FAST NO_AUTH ALLOW_BUSY] [FAST CONNECTION] [] [] Server(connection::hello);
    "auth" -2 [NOSCRIPT LOADING STALE FAST NO_AUTH ALLOW_BUSY] [FAST CONNECTION] [] [] Server(connection::auth);
    "quit" -1 [ALLOW_BUSY NOSCRIPT LOADING STALE FAST NO_AUTH] [FAST CONNECTION] [] [] Server(connection::quit);
    "reset" 1 [NOSCRIPT LOADING STALE FAST NO_AUTH ALLOW_BUSY] [FAST CONNECTION] [] [] Server(connection::reset);
    "select" 2 [LOADING STALE FAST] [FAST CONNECTION] [] [] Server(connection::select);
    "client" -2 [] [SLOW] [] [] Container => CLIENT;
};

static PERSISTENCE: &[Command] = &commands! {
    "lastsave" 1 [LOADING STALE FAST] [ADMIN FAST DANGEROUS] [] ["nondeterministic_output"] Server(persistence::lastsave);
    "save" 1 [NO_ASYNC_LOADING ADMIN NOSCRIPT NO_MULTI] [ADMIN SLOW DANGEROUS] [] [] Server(persistence::save);
    "bgsave" -1 [NO_ASYNC_LOADING ADMIN NOSCRIPT] [ADMIN SLOW DANGEROUS] [] [] Server(persistence::bgsave);
    "bgrewriteaof" 1 [NO_ASYNC_LOADING ADMIN NOSCRIPT] [ADMIN SLOW DANGEROUS] [] [] Server(persistence::bgrewriteaof);
    "shutdown" -1 [ADMIN NOSCRIPT LOADING STALE NO_MULTI ALLOW_BUSY] [ADMIN SLOW DANGEROUS] [] [] Server(persistence::shutdown);
};

static GENERIC: &[Command] = &commands! {
    "del" -2 [WRITE] [KEYSPACE WRITE SLOW] [span(1, -1, 1, RM | DELETE)] ["request_policy:multi_shard", "response_policy:agg_sum"] Data(generic::del);
    "unlink" -2 [WRITE FAST] [KEYSPACE WRITE FAST] [span(1, -1, 1, RM | DELETE)] ["request_policy:multi_shard", "response_policy:agg_sum"] Data(generic::unlink);
    "exists" -2 [READONLY FAST] [KEYSPACE READ FAST] [span(1, -1, 1, RO)] ["request_policy:multi_shard", "response_policy:agg_sum"] Data(generic::exists);
    "type" 2 [READONLY FAST] [KEYSPACE READ FAST] [at(1, RO)] [] Data(generic::kind);
    "keys" 2 [READONLY] [KEYSPACE READ SLOW DANGEROUS] [] ["request_policy:all_shards", "nondeterministic_output_order"] Data(scan::keys);
    "scan" -2 [READONLY] [KEYSPACE READ SLOW] [] ["nondeterministic_output", "request_policy:special"] Data(scan::scan);
    "randomkey" 1 [READONLY] [KEYSPACE READ SLOW] [] ["request_policy:all_shards", "nondeterministic_output"] Data(generic::randomkey);
    "rename" 3 [WRITE] [KEYSPACE WRITE SLOW] [at(1, RW | ACCESS | DELETE), at(2, OW | UPDATE)] [] Data(generic::rename);
    "renamenx" 3 [WRITE FAST] [KEYSPACE WRITE FAST] [at(1, RW | ACCESS | DELETE), at(2, OW | INSERT)] [] Data(generic::renamenx);
    "copy" -3 [WRITE DENYOOM] [KEYSPACE WRITE SLOW] [at(1, RO | ACCESS), at(2, OW | UPDATE)] [] Data(generic::copy);
    "move" 3 [WRITE FAST] [KEYSPACE WRITE FAST] [at(1, RW | ACCESS | UPDATE)] [] Data(generic::move_key);
    "touch" -2 [READONLY FAST] [KEYSPACE READ FAST] [span(1, -1, 1, RO)] ["request_policy:multi_shard", "response_policy:agg_sum"] Data(generic::touch);
    "dbsize" 1 [READONLY FAST] [KEYSPACE READ FAST] [] ["request_policy:all_shards", "response_policy:agg_sum"] Data(generic::dbsize);
    "flushdb" -1 [WRITE] [KEYSPACE WRITE SLOW DANGEROUS] [] ["request_policy:all_shards", "response_policy:all_succeeded"] Data(generic::flushdb);
    "flushall" -1 [WRITE] [KEYSPACE WRITE SLOW DANGEROUS] [] ["request_policy:all_shards", "response_policy:all_succeeded"] Server(generic::flushall);
    "swapdb" 3 [WRITE FAST] [KEYSPACE WRITE FAST DANGEROUS] [] [] Data(generic::swapdb);
    "object" -2 [] [SLOW] [] [] Container => OBJECT;
};

static OBJECT: &[Command] = &commands! {
    "object|encoding" 3 [READONLY] [KEYSPACE READ SLOW] [at(2, RO)] ["nondeterministic_output"] Data(object::encoding);
    "object|freq" 3 [READONLY] [KEYSPACE READ SLOW] [at(2, RO)] ["nondeterministic_output"] Data(object::freq);
    "object|help" 2 [LOADING STALE] [KEYSPACE SLOW] [] [] Data(object::help);
    "object|idletime" 3 [READONLY] [KEYSPACE READ SLOW] [at(2, RO)] ["nondeterministic_output"] Data(object::idletime);
    "object|refcount" 3 [READONLY] [KEYSPACE READ SLOW] [at(2, RO)] ["nondeterministic_output"] Data(object::refcount);
};

static DUMP: &[Command] = &commands! {
    "dump" 2 [READONLY] [KEYSPACE READ SLOW] [at(1, RO | ACCESS)] ["nondeterministic_output"] Data(dump::dump);
    "restore" -4 [WRITE DENYOOM] [KEYSPACE WRITE SLOW DANGEROUS] [at(1, OW | UPDATE)] [] Data(dump::restore);
    "migrate" -6 [WRITE MOVABLE_KEYS] [KEYSPACE WRITE SLOW DANGEROUS] [at(3, RW | ACCESS | DELETE), keyword("KEYS", -2, -1, 1, 0, RW | ACCESS | DELETE | INCOMPLETE)] ["nondeterministic_output"] Server(migrate::migrate);
    "restore-asking" -4 [WRITE DENYOOM ASKING] [KEYSPACE WRITE SLOW DANGEROUS] [at(1, OW | UPDATE)] [] Data(dump::restore);
};

static EXPIRE: &[Command] = &commands! {
    "expire" -3 [WRITE FAST] [KEYSPACE WRITE FAST] [at(1, RW | UPDATE)] [] Data(expire::expire);
    "pexpire" -3 [WRITE FAST] [KEYSPACE WRITE FAST] [at(1, RW | UPDATE)] [] Data(expire::pexpire);
    "expireat" -3 [WRITE FAST] [KEYSPACE WRITE FAST] [at(1, RW | UPDATE)] [] Data(expire::expireat);
    "pexpireat" -3 [WRITE FAST] [KEYSPACE WRITE FAST] [at(1, RW | UPDATE)] [] Data(expire::pexpireat);
    "ttl" 2 [READONLY FAST] [KEYSPACE READ FAST] [at(1, RO | ACCESS)] ["nondeterministic_output"] Data(expire::ttl);
    "pttl" 2 [READONLY FAST] [KEYSPACE READ FAST] [at(1, RO | ACCESS)] ["nondeterministic_output"] Data(expire::pttl);
    "expiretime" 2 [READONLY FAST] [KEYSPACE READ FAST] [at(1, RO | ACCESS)] [] Data(expire::expiretime);
    "pexpiretime" 2 [READONLY FAST] [KEYSPACE READ FAST] [at(1, RO | ACCESS)] [] Data(expire::pexpiretime);
    "persist" 2 [WRITE FAST] [KEYSPACE WRITE FAST] [at(1, RW | UPDATE)] [] Data(expire::persist);
};

static STREAM: &[Command] = &commands! {
    "xadd" -5 [WRITE DENYOOM FAST] [WRITE STREAM FAST] [at(1, RW | UPDATE)] ["nondeterministic_output"] Data(stream::add::xadd);
    "xrange" -4 [READONLY] [READ STREAM SLOW] [at(1, RO | ACCESS)] [] Data(stream::range::xrange);
    "xrevrange" -4 [READONLY] [READ STREAM SLOW] [at(1, RO | ACCESS)] [] Data(stream::range::xrevrange);
    "xlen" 2 [READONLY FAST] [READ STREAM FAST] [at(1, RO)] [] Data(stream::range::xlen);
    "xread" -4 [READONLY BLOCKING MOVABLE_KEYS] [READ STREAM SLOW BLOCKING] [keyword("STREAMS", 1, -1, 1, 2, RO | ACCESS)] [] Data(stream::read::xread);
    "xreadgroup" -7 [WRITE BLOCKING MOVABLE_KEYS] [WRITE STREAM SLOW BLOCKING] [keyword("STREAMS", 4, -1, 1, 2, RO | ACCESS)] [] Data(stream::read::xreadgroup);
    "xgroup" -2 [] [SLOW] [] [] Container => XGROUP;
    "xsetid" -3 [WRITE DENYOOM FAST] [WRITE STREAM FAST] [at(1, RW | UPDATE)] [] Data(stream::add::xsetid);
    "xack" -4 [WRITE FAST] [WRITE STREAM FAST] [at(1, RW | UPDATE)] [] Data(stream::pending::xack);
    "xpending" -3 [READONLY] [READ STREAM SLOW] [at(1, RO | ACCESS)] ["nondeterministic_output"] Data(stream::pending::xpending);
    "xclaim" -6 [WRITE FAST] [WRITE STREAM FAST] [at(1, RW | UPDATE)] ["nondeterministic_output"] Data(stream::claim::xclaim);
    "xautoclaim" -6 [WRITE FAST] [WRITE STREAM FAST] [at(1, RW | DELETE)] ["nondeterministic_output"] Data(stream::claim::xautoclaim);
    "xinfo" -2 [] [SLOW] [] [] Container => XINFO;
    "xdel" -3 [WRITE FAST] [WRITE STREAM FAST] [at(1, RW | DELETE)] [] Data(stream::add::xdel);
    "xtrim" -4 [WRITE] [WRITE STREAM SLOW] [at(1, RW | DELETE)] ["nondeterministic_output"] Data(stream::add::xtrim);
};

static XGROUP: &[Command] = &commands! {
    "xgroup|create" -5 [WRITE DENYOOM] [WRITE STREAM SLOW] [at(2, RW | INSERT)] [] Data(stream::group::create);
    "xgroup|setid" -5 [WRITE] [WRITE STREAM SLOW] [at(2, RW | UPDATE)] [] Data(stream::group::setid);
    "xgroup|destroy" 4 [WRITE] [WRITE STREAM SLOW] [at(2, RW | DELETE)] [] Data(stream::group::destroy);
    "xgroup|createconsumer" 5 [WRITE DENYOOM] [WRITE STREAM SLOW] [at(2, RW | INSERT)] [] Data(stream::group::createconsumer);
    "xgroup|delconsumer" 5 [WRITE] [WRITE STREAM SLOW] [at(2, RW | DELETE)] [] Data(stream::group::delconsumer);
    "xgroup|help" 2 [LOADING STALE] [STREAM SLOW] [] [] Data(stream::group::help);
};

static XINFO: &[Command] = &commands! {
    "xinfo|consumers" 4 [READONLY] [READ STREAM SLOW] [at(2, RO | ACCESS)] ["nondeterministic_output"] Data(stream::info::consumers);
    "xinfo|groups" 3 [READONLY] [READ STREAM SLOW] [at(2, RO | ACCESS)] [] Data(stream::info::groups);
    "xinfo|stream" -3 [READONLY] [READ STREAM SLOW] [at(2, RO | ACCESS)] [] Data(stream::info::stream);
    "xinfo|help" 2 [LOADING STALE] [STREAM SLOW] [] [] Data(stream::info::help);
};

static HASH: &[Command] = &commands! {
    "hset" -4 [WRITE DENYOOM FAST] [WRITE HASH FAST] [at(1, RW | UPDATE)] [] Data(hash::hset);
    "hget" 3 [READONLY FAST] [READ HASH FAST] [at(1, RO | ACCESS)] [] Data(hash::hget);
    "hmget" -3 [READONLY FAST] [READ HASH FAST] [at(1, RO | ACCESS)] [] Data(hash::hmget);
    "hmset" -4 [WRITE DENYOOM FAST] [WRITE HASH FAST] [at(1, RW | UPDATE)] [] Data(hash::hmset);
    "hdel" -3 [WRITE FAST] [WRITE HASH FAST] [at(1, RW | DELETE)] [] Data(hash::hdel);
    "hgetall" 2 [READONLY] [READ HASH SLOW] [at(1, RO | ACCESS)] ["nondeterministic_output_order"] Data(hash::hgetall);
    "hkeys" 2 [READONLY] [READ HASH SLOW] [at(1, RO | ACCESS)] ["nondeterministic_output_order"] Data(hash::hkeys);
    "hvals" 2 [READONLY] [READ HASH SLOW] [at(1, RO | ACCESS)] ["nondeterministic_output_order"] Data(hash::hvals);
    "hlen" 2 [READONLY FAST] [READ HASH FAST] [at(1, RO)] [] Data(hash::hlen);
    "hexists" 3 [READONLY FAST] [READ HASH FAST] [at(1, RO)] [] Data(hash::hexists);
    "hincrby" 4 [WRITE DENYOOM FAST] [WRITE HASH FAST] [at(1, RW | ACCESS | UPDATE)] [] Data(hash::hincrby);
    "hincrbyfloat" 4 [WRITE DENYOOM FAST] [WRITE HASH FAST] [at(1, RW | ACCESS | UPDATE)] [] Data(hash::hincrbyfloat);
    "hsetnx" 4 [WRITE DENYOOM FAST] [WRITE HASH FAST] [at(1, RW | INSERT)] [] Data(hash::hsetnx);
    "hstrlen" 3 [READONLY FAST] [READ HASH FAST] [at(1, RO)] [] Data(hash::hstrlen);
    "hrandfield" -2 [READONLY] [READ HASH SLOW] [at(1, RO | ACCESS)] ["nondeterministic_output"] Data(hash::hrandfield);
    "hscan" -3 [READONLY] [READ HASH SLOW] [at(1, RO | ACCESS)] ["nondeterministic_output"] Data(hash::hscan);
    "hexpire" -6 [WRITE FAST] [WRITE HASH FAST] [at(1, RW | UPDATE)] [] Data(field_expiry::hexpire);
    "hpexpire" -6 [WRITE FAST] [WRITE HASH FAST] [at(1, RW | UPDATE)] [] Data(field_expiry::hpexpire);
    "hexpireat" -6 [WRITE FAST] [WRITE HASH FAST] [at(1, RW | UPDATE)] [] Data(field_expiry::hexpireat);
    "hpexpireat" -6 [WRITE FAST] [WRITE HASH FAST] [at(1, RW | UPDATE)] [] Data(field_expiry::hpexpireat);
    "httl" -5 [READONLY FAST] [READ HASH FAST] [at(1, RO | ACCESS)] ["nondeterministic_output"] Data(field_expiry::httl);
    "hpttl" -5 [READONLY FAST] [READ HASH FAST] [at(1, RO | ACCESS)] ["nondeterministic_output"] Data(field_expiry::hpttl);
    "hexpiretime" -5 [READONLY FAST] [READ HASH FAST] [at(1, RO | ACCESS)] [] Data(field_expiry::hexpiretime);
    "hpexpiretime" -5 [READONLY FAST] [READ HASH FAST] [at(1, RO | ACCESS)] [] Data(field_expiry::hpexpiretime);
    "hpersist" -5 [WRITE FAST] [WRITE HASH FAST] [at(1, RW | UPDATE)] [] Data(field_expiry::hpersist);
    "hgetdel" -5 [WRITE FAST] [WRITE HASH FAST] [at(1, RW | ACCESS | DELETE)] [] Data(field_expiry::hgetdel);
    "hgetex" -5 [WRITE FAST] [WRITE HASH FAST] [at(1, RW | ACCESS | UPDATE)] [] Data(field_expiry::hgetex);
    "hsetex" -6 [WRITE DENYOOM FAST] [WRITE HASH FAST] [at(1, RW | INSERT)] [] Data(field_expiry::hsetex);
};

static SET: &[Command] = &commands! {
    "sadd" -3 [WRITE DENYOOM FAST] [WRITE SET FAST] [at(1, RW | INSERT)] [] Data(set::sadd);
    "srem" -3 [WRITE FAST] [WRITE SET FAST] [at(1, RW | DELETE)] [] Data(set::srem);
    "scard" 2 [READONLY FAST] [READ SET FAST] [at(1, RO)] [] Data(set::scard);
    "sismember" 3 [READONLY FAST] [READ SET FAST] [at(1, RO)] [] Data(set::sismember);
    "smismember" -3 [READONLY FAST] [READ SET FAST] [at(1, RO | ACCESS)] [] Data(set::smismember);
    "smembers" 2 [READONLY] [READ SET SLOW] [at(1, RO | ACCESS)] ["nondeterministic_output_order"] Data(set::smembers);
    "smove" 4 [WRITE FAST] [WRITE SET FAST] [at(1, RW | ACCESS | DELETE), at(2, RW | INSERT)] [] Data(set::smove);
    "spop" -2 [WRITE FAST] [WRITE SET FAST] [at(1, RW | ACCESS | DELETE)] ["nondeterministic_output"] Data(set::spop);
    "srandmember" -2 [READONLY] [READ SET SLOW] [at(1, RO | ACCESS)] ["nondeterministic_output"] Data(set::srandmember);
    "sscan" -3 [READONLY] [READ SET SLOW] [at(1, RO | ACCESS)] ["nondeterministic_output"] Data(set::sscan);
    "sinter" -2 [READONLY] [READ SET SLOW] [span(1, -1, 1, RO | ACCESS)] ["nondeterministic_output_order"] Data(set_algebra::sinter);
    "sintercard" -3 [READONLY MOVABLE_KEYS] [READ SET SLOW] [numbered(1, RO | ACCESS)] [] Data(set_algebra::sintercard);
    "sinterstore" -3 [WRITE DENYOOM] [WRITE SET SLOW] [at(1, RW | UPDATE), span(2, -1, 1, RO | ACCESS)] [] Data(set_algebra::sinterstore);
    "sunion" -2 [READONLY] [READ SET SLOW] [span(1, -1, 1, RO | ACCESS)] ["nondeterministic_output_order"] Data(set_algebra::sunion);
    "sunionstore" -3 [WRITE DENYOOM] [WRITE SET SLOW] [at(1, OW | UPDATE), span(2, -1, 1, RO | ACCESS)] [] Data(set_algebra::sunionstore);
    "sdiff" -2 [READONLY] [READ SET SLOW] [span(1, -1, 1, RO | ACCESS)] ["nondeterministic_output_order"] Data(set_algebra::sdiff);
    "sdiffstore" -3 [WRITE DENYOOM] [WRITE SET SLOW] [at(1, OW | UPDATE), span(2, -1, 1, RO | ACCESS)] [] Data(set_algebra::sdiffstore);
};

static BITMAP: &[Command] = &commands! {
    "setbit" 4 [WRITE DENYOOM] [WRITE BITMAP SLOW] [at(1, RW | ACCESS | UPDATE)] [] Data(bitmap::setbit);
    "getbit" 3 [READONLY FAST] [READ BITMAP FAST] [at(1, RO | ACCESS)] [] Data(bitmap::getbit);
    "bitcount" -2 [READONLY] [READ BITMAP SLOW] [at(1, RO | ACCESS)] [] Data(bitmap::bitcount);
    "bitpos" -3 [READONLY] [READ BITMAP SLOW] [at(1, RO | ACCESS)] [] Data(bitmap::bitpos);
    "bitop" -4 [WRITE DENYOOM] [WRITE BITMAP SLOW] [at(2, OW | UPDATE), span(3, -1, 1, RO | ACCESS)] [] Data(bitmap::bitop);
    "bitfield" -2 [WRITE DENYOOM] [WRITE BITMAP SLOW] [at(1, RW | ACCESS | UPDATE | VARIABLE_FLAGS)] [] Data(bitmap::bitfield);
    "bitfield_ro" -2 [READONLY FAST] [READ BITMAP FAST] [at(1, RO | ACCESS)] [] Data(bitmap::bitfield_ro);
};

static HYPERLOGLOG: &[Command] = &commands! {
    "pfadd" -2 [WRITE DENYOOM FAST] [WRITE HYPERLOGLOG FAST] [at(1, RW | INSERT)] [] Data(hyperloglog::pfadd);
    "pfcount" -2 [READONLY MAY_REPLICATE] [READ HYPERLOGLOG SLOW] [span(1, -1, 1, RW | ACCESS)] [] Data(hyperloglog::pfcount);
    "pfmerge" -2 [WRITE DENYOOM] [WRITE HYPERLOGLOG SLOW] [at(1, RW | ACCESS | INSERT), span(2, -1, 1, RO | ACCESS)] [] Data(hyperloglog::pfmerge);
    "pfdebug" 3 [WRITE DENYOOM ADMIN] [WRITE HYPERLOGLOG ADMIN SLOW DANGEROUS] [at(2, RW | ACCESS)] [] Data(hyperloglog::pfdebug);
    "pfselftest" 1 [ADMIN] [HYPERLOGLOG ADMIN SLOW DANGEROUS] [] [] Data(hyperloglog::pfselftest);
};

static COMMAND: &[Command] = &commands! {
    "command|count" 2 [LOADING STALE] [SLOW CONNECTION] [] [] Server(introspection::count);
    "command|docs" -2 [LOADING STALE] [SLOW CONNECTION] [] ["nondeterministic_output_order"] Server(introspection::docs);
    "command|getkeys" -4 [LOADING STALE] [SLOW CONNECTION] [] [] Server(introspection::getkeys);
    "command|getkeysandflags" -4 [LOADING STALE] [SLOW CONNECTION] [] [] Server(introspection::getkeysandflags);
    "command|help" 2 [LOADING STALE] [SLOW CONNECTION] [] [] Server(introspection::help);
    "command|info" -2 [LOADING STALE] [SLOW CONNECTION] [] ["nondeterministic_output_order"] Server(introspection::info);
    "command|list" -2 [LOADING STALE] [SLOW CONNECTION] [] ["nondeterministic_output_order"] Server(introspection::list);
};

static CONFIG: &[Command] = &commands! {
    "config|get" -3 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS] [] [] Server(config::get);
    "config|help" 2 [LOADING STALE] [SLOW] [] [] Server(config::help);
    "config|resetstat" 2 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS] [] [] Server(config::resetstat);
    "config|rewrite" 2 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS] [] [] Server(config::rewrite);
    "config|set" -4 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS] [] ["request_policy:all_nodes", "response_policy:all_succeeded"] Server(config::set);
};

static ACL: &[Command] = &commands! {
    "acl|cat" -2 [NOSCRIPT LOADING STALE] [SLOW] [] [] Server(acl::cat);
    "acl|deluser" -3 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS] [] [] Server(acl::deluser);
    "acl|dryrun" -4 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS] [] [] Server(acl::dryrun);
    "acl|genpass" -2 [NOSCRIPT LOADING STALE] [SLOW] [] [] Server(acl::genpass);
    "acl|getuser" 3 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS] [] [] Server(acl::getuser);
    "acl|help" 2 [LOADING STALE] [SLOW] [] [] Server(acl::help);
    "acl|list" 2 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS] [] [] Server(acl::list);
    "acl|load" 2 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS] [] [] Server(acl::load);
    "acl|log" -2 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS] [] [] Server(acl::log);
    "acl|save" 2 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS] [] [] Server(acl::save);
    "acl|setuser" -3 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS] [] [] Server(acl::setuser);
    "acl|users" 2 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS] [] [] Server(acl::users);
    "acl|whoami" 2 [NOSCRIPT LOADING STALE] [SLOW] [] [] Server(acl::whoami);
};

static SERVER: &[Command] = &commands! {
    "acl" -2 [] [SLOW] [] [] Container => ACL;
    "command" -1 [LOADING STALE] [SLOW CONNECTION] [] ["nondeterministic_output_order"] Server(introspection::all) => COMMAND;
    "info" -1 [LOADING STALE] [SLOW DANGEROUS] [] ["nondeterministic_output", "request_policy:all_shards", "response_policy:special"] Server(info::info);
    "time" 1 [LOADING STALE FAST] [FAST] [] ["nondeterministic_output"] Server(info::time);
    "debug" -2 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS] [] [] Server(debug::debug);
    "config" -2 [] [SLOW] [] [] Container => CONFIG;
};

static CLUSTER_GROUP: &[Command] = &commands! {
    "cluster" -2 [] [SLOW] [] [] Container => CLUSTER;
    "asking" 1 [FAST] [FAST CONNECTION] [] [] Server(cluster::asking);
    "readonly" 1 [FAST LOADING STALE] [FAST CONNECTION] [] [] Server(cluster::readonly);
    "readwrite" 1 [FAST LOADING STALE] [FAST CONNECTION] [] [] Server(cluster::readwrite);
};

static CLUSTER: &[Command] = &commands! {
    "cluster|addslots" -3 [NO_ASYNC_LOADING ADMIN STALE] [ADMIN SLOW DANGEROUS] [] [] Server(cluster::addslots);
    "cluster|addslotsrange" -4 [NO_ASYNC_LOADING ADMIN STALE] [ADMIN SLOW DANGEROUS] [] [] Server(cluster::addslotsrange);
    "cluster|bumpepoch" 2 [NO_ASYNC_LOADING ADMIN STALE] [ADMIN SLOW DANGEROUS] [] ["nondeterministic_output"] Server(cluster::bumpepoch);
    "cluster|count-failure-reports" 3 [ADMIN STALE] [ADMIN SLOW DANGEROUS] [] ["nondeterministic_output"] Server(cluster::count_failure_reports);
    "cluster|countkeysinslot" 3 [STALE] [SLOW] [] [] Server(cluster::countkeysinslot);
    "cluster|delslots" -3 [NO_ASYNC_LOADING ADMIN STALE] [ADMIN SLOW DANGEROUS] [] [] Server(cluster::delslots);
    "cluster|delslotsrange" -4 [NO_ASYNC_LOADING ADMIN STALE] [ADMIN SLOW DANGEROUS] [] [] Server(cluster::delslotsrange);
    "cluster|failover" -2 [NO_ASYNC_LOADING ADMIN STALE] [ADMIN SLOW DANGEROUS] [] [] Server(cluster::failover);
    "cluster|flushslots" 2 [NO_ASYNC_LOADING ADMIN STALE] [ADMIN SLOW DANGEROUS] [] [] Server(cluster::flushslots);
    "cluster|forget" 3 [NO_ASYNC_LOADING ADMIN STALE] [ADMIN SLOW DANGEROUS] [] [] Server(cluster::forget);
    "cluster|getkeysinslot" 4 [STALE] [SLOW] [] ["nondeterministic_output"] Server(cluster::getkeysinslot);
    "cluster|help" 2 [LOADING STALE] [SLOW] [] [] Server(cluster::help);
    "cluster|info" 2 [STALE] [SLOW] [] ["nondeterministic_output"] Server(cluster::info);
    "cluster|keyslot" 3 [STALE] [SLOW] [] [] Server(cluster::keyslot);
    "cluster|links" 2 [STALE] [SLOW] [] ["nondeterministic_output"] Server(cluster::links);
    "cluster|meet" -4 [NO_ASYNC_LOADING ADMIN STALE] [ADMIN SLOW DANGEROUS] [] [] Server(cluster::meet);
    "cluster|myshardid" 2 [STALE] [SLOW] [] ["nondeterministic_output"] Server(cluster::myshardid);
    "cluster|myid" 2 [STALE] [SLOW] [] [] Server(cluster::myid);
    "cluster|nodes" 2 [STALE] [SLOW] [] ["nondeterministic_output"] Server(cluster::nodes);
    "cluster|replicas" 3 [ADMIN STALE] [ADMIN SLOW DANGEROUS] [] ["nondeterministic_output"] Server(cluster::replicas);
    "cluster|replicate" 3 [NO_ASYNC_LOADING ADMIN STALE] [ADMIN SLOW DANGEROUS] [] [] Server(cluster::replicate);
    "cluster|reset" -2 [ADMIN STALE NOSCRIPT] [ADMIN SLOW DANGEROUS] [] [] Server(cluster::reset);
    "cluster|saveconfig" 2 [NO_ASYNC_LOADING ADMIN STALE] [ADMIN SLOW DANGEROUS] [] [] Server(cluster::saveconfig);
    "cluster|set-config-epoch" 3 [NO_ASYNC_LOADING ADMIN STALE] [ADMIN SLOW DANGEROUS] [] [] Server(cluster::set_config_epoch);
    "cluster|setslot" -4 [NO_ASYNC_LOADING ADMIN STALE] [ADMIN SLOW DANGEROUS] [] [] Server(cluster::setslot);
    "cluster|shards" 2 [STALE] [SLOW] [] ["nondeterministic_output"] Server(cluster::shards);
    "cluster|slaves" 3 [ADMIN STALE] [ADMIN SLOW DANGEROUS] [] ["nondeterministic_output"] Server(cluster::slaves);
    "cluster|slot-stats" -4 [STALE] [SLOW] [] ["nondeterministic_output", "request_policy:all_shards"] Server(cluster_stats::slot_stats);
    "cluster|slots" 2 [STALE] [SLOW] [] ["nondeterministic_output"] Server(cluster::slots);
};

static PUBSUB_GROUP: &[Command] = &commands! {
    "publish" 3 [PUBSUB LOADING STALE FAST MAY_REPLICATE] [PUBSUB FAST] [] [] Server(pubsub::publish);
    "spublish" 3 [PUBSUB LOADING STALE FAST MAY_REPLICATE] [PUBSUB FAST] [at(1, NOT_KEY)] [] Server(pubsub::spublish);
    "psubscribe" -2 [PUBSUB NOSCRIPT LOADING STALE] [PUBSUB SLOW] [] [] Server(pubsub::psubscribe);
    "punsubscribe" -1 [PUBSUB NOSCRIPT LOADING STALE] [PUBSUB SLOW] [] [] Server(pubsub::punsubscribe);
    "ssubscribe" -2 [PUBSUB NOSCRIPT LOADING STALE] [PUBSUB SLOW] [span(1, -1, 1, NOT_KEY)] [] Server(pubsub::ssubscribe);
    "subscribe" -2 [PUBSUB NOSCRIPT LOADING STALE] [PUBSUB SLOW] [] [] Server(pubsub::subscribe);
    "sunsubscribe" -1 [PUBSUB NOSCRIPT LOADING STALE] [PUBSUB SLOW] [span(1, -1, 1, NOT_KEY)] [] Server(pubsub::sunsubscribe);
    "unsubscribe" -1 [PUBSUB NOSCRIPT LOADING STALE] [PUBSUB SLOW] [] [] Server(pubsub::unsubscribe);
    "pubsub" -2 [] [SLOW] [] [] Container => PUBSUB;
};

static PUBSUB: &[Command] = &commands! {
    "pubsub|channels" -2 [PUBSUB LOADING STALE] [PUBSUB SLOW] [] [] Server(pubsub::channels);
    "pubsub|numsub" -2 [PUBSUB LOADING STALE] [PUBSUB SLOW] [] [] Server(pubsub::numsub);
    "pubsub|numpat" 2 [PUBSUB LOADING STALE] [PUBSUB SLOW] [] [] Server(pubsub::numpat);
    "pubsub|shardnumsub" -2 [PUBSUB LOADING STALE] [PUBSUB SLOW] [] [] Server(pubsub::shardnumsub);
    "pubsub|help" 2 [LOADING STALE] [SLOW] [] [] Server(pubsub::help);
    "pubsub|shardchannels" -2 [PUBSUB LOADING STALE] [PUBSUB SLOW] [] [] Server(pubsub::shardchannels);
};

static OBSERVATION: &[Command] = &commands! {
    "slowlog" -2 [] [SLOW] [] [] Container => SLOWLOG;
    "commandlog" -2 [] [SLOW] [] [] Container => COMMANDLOG;
    "memory" -2 [] [SLOW] [] [] Container => MEMORY;
    "module" -2 [] [SLOW] [] [] Container => MODULE;
    "lolwut" -1 [READONLY FAST] [READ FAST] [] [] Data(lolwut::lolwut);
    "latency" -2 [] [SLOW] [] [] Container => LATENCY;
    "monitor" 1 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS] [] [] Server(monitor::monitor);
};

static SLOWLOG: &[Command] = &commands! {
    "slowlog|help" 2 [LOADING STALE] [SLOW] [] [] Server(slowlog::help);
    "slowlog|reset" 2 [ADMIN LOADING STALE] [ADMIN SLOW DANGEROUS] [] ["request_policy:all_nodes", "response_policy:all_succeeded"] Server(slowlog::reset);
    "slowlog|len" 2 [ADMIN LOADING STALE] [ADMIN SLOW DANGEROUS] [] ["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"] Server(slowlog::len);
    "slowlog|get" -2 [ADMIN LOADING STALE] [ADMIN SLOW DANGEROUS] [] ["request_policy:all_nodes", "nondeterministic_output"] Server(slowlog::get);
};

static LATENCY: &[Command] = &commands! {
    "latency|graph" 3 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS] [] ["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"] Server(latency::graph);
    "latency|doctor" 2 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS] [] ["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"] Server(latency::doctor);
    "latency|latest" 2 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS] [] ["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"] Server(latency::latest);
    "latency|histogram" -2 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS] [] ["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"] Server(latency::histogram);
    "latency|help" 2 [LOADING STALE] [SLOW] [] [] Server(latency::help);
    "latency|reset" -2 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS] [] ["request_policy:all_nodes", "response_policy:all_succeeded"] Server(latency::reset);
    "latency|history" 3 [ADMIN NOSCRIPT LOADING STALE] [ADMIN SLOW DANGEROUS] [] ["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"] Server(latency::history);
};

static ZSET: &[Command] = &commands! {
    "bzmpop" -5 [WRITE BLOCKING MOVABLE_KEYS] [WRITE SORTEDSET SLOW BLOCKING] [numbered(2, RW | ACCESS | DELETE)] [] Data(zset::bzmpop);
    "bzpopmax" -3 [WRITE NOSCRIPT BLOCKING FAST] [WRITE SORTEDSET FAST BLOCKING] [span(1, -2, 1, RW | ACCESS | DELETE)] [] Data(zset::bzpopmax);
    "bzpopmin" -3 [WRITE NOSCRIPT BLOCKING FAST] [WRITE SORTEDSET FAST BLOCKING] [span(1, -2, 1, RW | ACCESS | DELETE)] [] Data(zset::bzpopmin);
    "zadd" -4 [WRITE DENYOOM FAST] [WRITE SORTEDSET FAST] [at(1, RW | UPDATE)] [] Data(zset::zadd);
    "zcard" 2 [READONLY FAST] [READ SORTEDSET FAST] [at(1, RO)] [] Data(zset::zcard);
    "zcount" 4 [READONLY FAST] [READ SORTEDSET FAST] [at(1, RO | ACCESS)] [] Data(zset::zcount);
    "zdiff" -3 [READONLY MOVABLE_KEYS] [READ SORTEDSET SLOW] [numbered(1, RO | ACCESS)] [] Data(zset::zdiff);
    "zdiffstore" -4 [WRITE DENYOOM MOVABLE_KEYS] [WRITE SORTEDSET SLOW] [at(1, OW | UPDATE), numbered(2, RO | ACCESS)] [] Data(zset::zdiffstore);
    "zincrby" 4 [WRITE DENYOOM FAST] [WRITE SORTEDSET FAST] [at(1, RW | ACCESS | UPDATE)] [] Data(zset::zincrby);
    "zinter" -3 [READONLY MOVABLE_KEYS] [READ SORTEDSET SLOW] [numbered(1, RO | ACCESS)] [] Data(zset::zinter);
    "zintercard" -3 [READONLY MOVABLE_KEYS] [READ SORTEDSET SLOW] [numbered(1, RO | ACCESS)] [] Data(zset::zintercard);
    "zinterstore" -4 [WRITE DENYOOM MOVABLE_KEYS] [WRITE SORTEDSET SLOW] [at(1, OW | UPDATE), numbered(2, RO | ACCESS)] [] Data(zset::zinterstore);
    "zlexcount" 4 [READONLY FAST] [READ SORTEDSET FAST] [at(1, RO | ACCESS)] [] Data(zset::zlexcount);
    "zmpop" -4 [WRITE MOVABLE_KEYS] [WRITE SORTEDSET SLOW] [numbered(1, RW | ACCESS | DELETE)] [] Data(zset::zmpop);
    "zmscore" -3 [READONLY FAST] [READ SORTEDSET FAST] [at(1, RO | ACCESS)] [] Data(zset::zmscore);
    "zpopmax" -2 [WRITE FAST] [WRITE SORTEDSET FAST] [at(1, RW | ACCESS | DELETE)] [] Data(zset::zpopmax);
    "zpopmin" -2 [WRITE FAST] [WRITE SORTEDSET FAST] [at(1, RW | ACCESS | DELETE)] [] Data(zset::zpopmin);
    "zrandmember" -2 [READONLY] [READ SORTEDSET SLOW] [at(1, RO | ACCESS)] ["nondeterministic_output"] Data(zset::zrandmember);
    "zrange" -4 [READONLY] [READ SORTEDSET SLOW] [at(1, RO | ACCESS)] [] Data(zset::zrange);
    "zrangebylex" -4 [READONLY] [READ SORTEDSET SLOW] [at(1, RO | ACCESS)] [] Data(zset::zrangebylex);
    "zrangebyscore" -4 [READONLY] [READ SORTEDSET SLOW] [at(1, RO | ACCESS)] [] Data(zset::zrangebyscore);
    "zrangestore" -5 [WRITE DENYOOM] [WRITE SORTEDSET SLOW] [at(1, OW | UPDATE), at(2, RO | ACCESS)] [] Data(zset::zrangestore);
    "zrank" 3 [READONLY FAST] [READ SORTEDSET FAST] [at(1, RO | ACCESS)] [] Data(zset::zrank);
    "zrem" -3 [WRITE FAST] [WRITE SORTEDSET FAST] [at(1, RW | DELETE)] [] Data(zset::zrem);
    "zremrangebylex" 4 [WRITE] [WRITE SORTEDSET SLOW] [at(1, RW | DELETE)] [] Data(zset::zremrangebylex);
    "zremrangebyrank" 4 [WRITE] [WRITE SORTEDSET SLOW] [at(1, RW | DELETE)] [] Data(zset::zremrangebyrank);
    "zremrangebyscore" 4 [WRITE] [WRITE SORTEDSET SLOW] [at(1, RW | DELETE)] [] Data(zset::zremrangebyscore);
    "zrevrange" -4 [READONLY] [READ SORTEDSET SLOW] [at(1, RO | ACCESS)] [] Data(zset::zrevrange);
    "zrevrangebylex" -4 [READONLY] [READ SORTEDSET SLOW] [at(1, RO | ACCESS)] [] Data(zset::zrevrangebylex);
    "zrevrangebyscore" -4 [READONLY] [READ SORTEDSET SLOW] [at(1, RO | ACCESS)] [] Data(zset::zrevrangebyscore);
    "zrevrank" 3 [READONLY FAST] [READ SORTEDSET FAST] [at(1, RO | ACCESS)] [] Data(zset::zrevrank);
    "zscan" -3 [READONLY] [READ SORTEDSET SLOW] [at(1, RO | ACCESS)] ["nondeterministic_output"] Data(zset::zscan);
    "zscore" 3 [READONLY FAST] [READ SORTEDSET FAST] [at(1, RO | ACCESS)] [] Data(zset::zscore);
    "zunion" -3 [READONLY MOVABLE_KEYS] [READ SORTEDSET SLOW] [numbered(1, RO | ACCESS)] [] Data(zset::zunion);
    "zunionstore" -4 [WRITE DENYOOM MOVABLE_KEYS] [WRITE SORTEDSET SLOW] [at(1, OW | UPDATE), numbered(2, RO | ACCESS)] [] Data(zset::zunionstore);
};

static GEO: &[Command] = &commands! {
    "geoadd" -5 [WRITE DENYOOM] [WRITE GEO SLOW] [at(1, RW | UPDATE)] [] Data(geo::geoadd);
    "geodist" -4 [READONLY] [READ GEO SLOW] [at(1, RO | ACCESS)] [] Data(geo::geodist);
    "geohash" -2 [READONLY] [READ GEO SLOW] [at(1, RO | ACCESS)] [] Data(geo::geohash);
    "geopos" -2 [READONLY] [READ GEO SLOW] [at(1, RO | ACCESS)] [] Data(geo::geopos);
    "georadius" -6 [WRITE DENYOOM MOVABLE_KEYS] [WRITE GEO SLOW] [at(1, RO | ACCESS), keyword("STORE", 6, 0, 1, 0, OW | UPDATE), keyword("STOREDIST", 6, 0, 1, 0, OW | UPDATE)] [] Data(geo::georadius);
    "georadius_ro" -6 [READONLY] [READ GEO SLOW] [at(1, RO | ACCESS)] [] Data(geo::georadius_ro);
    "georadiusbymember" -5 [WRITE DENYOOM MOVABLE_KEYS] [WRITE GEO SLOW] [at(1, RO | ACCESS), keyword("STORE", 5, 0, 1, 0, OW | UPDATE), keyword("STOREDIST", 5, 0, 1, 0, OW | UPDATE)] [] Data(geo::georadiusbymember);
    "georadiusbymember_ro" -5 [READONLY] [READ GEO SLOW] [at(1, RO | ACCESS)] [] Data(geo::georadiusbymember_ro);
    "geosearch" -7 [READONLY] [READ GEO SLOW] [at(1, RO | ACCESS)] [] Data(geo::geosearch);
    "geosearchstore" -8 [WRITE DENYOOM] [WRITE GEO SLOW] [at(1, OW | UPDATE), at(2, RO | ACCESS)] [] Data(geo::geosearchstore);
};

static SCRIPTING: &[Command] = &commands! {
    "eval" -3 [NOSCRIPT STALE SKIP_MONITOR MAY_REPLICATE NO_MANDATORY_KEYS MOVABLE_KEYS] [SLOW SCRIPTING] [numbered(2, RW | ACCESS | UPDATE)] [] Server(script::eval);
    "eval_ro" -3 [READONLY NOSCRIPT STALE SKIP_MONITOR NO_MANDATORY_KEYS MOVABLE_KEYS] [SLOW SCRIPTING] [numbered(2, RO | ACCESS)] [] Server(script::eval_ro);
    "evalsha" -3 [NOSCRIPT STALE SKIP_MONITOR MAY_REPLICATE NO_MANDATORY_KEYS MOVABLE_KEYS] [SLOW SCRIPTING] [numbered(2, RW | ACCESS | UPDATE)] [] Server(script::evalsha);
    "evalsha_ro" -3 [READONLY NOSCRIPT STALE SKIP_MONITOR NO_MANDATORY_KEYS MOVABLE_KEYS] [SLOW SCRIPTING] [numbered(2, RO | ACCESS)] [] Server(script::evalsha_ro);
    "script" -2 [] [SLOW] [] [] Container => SCRIPT;
    "fcall" -3 [NOSCRIPT STALE SKIP_MONITOR MAY_REPLICATE NO_MANDATORY_KEYS MOVABLE_KEYS] [SLOW SCRIPTING] [numbered(2, RW | ACCESS | UPDATE)] [] Server(function::fcall);
    "fcall_ro" -3 [READONLY NOSCRIPT STALE SKIP_MONITOR NO_MANDATORY_KEYS MOVABLE_KEYS] [SLOW SCRIPTING] [numbered(2, RO | ACCESS)] [] Server(function::fcall_ro);
    "function" -2 [] [SLOW] [] [] Container => FUNCTION;
};

static SCRIPT: &[Command] = &commands! {
    "script|help" 2 [LOADING STALE] [SLOW SCRIPTING] [] [] Server(script::help);
    "script|exists" -3 [NOSCRIPT] [SLOW SCRIPTING] [] ["request_policy:all_shards", "response_policy:agg_logical_and"] Server(script::exists);
    "script|debug" 3 [NOSCRIPT] [SLOW SCRIPTING] [] [] Server(script::debug);
    "script|load" 3 [NOSCRIPT STALE] [SLOW SCRIPTING] [] ["request_policy:all_nodes", "response_policy:all_succeeded"] Server(script::load);
    "script|flush" -2 [NOSCRIPT] [SLOW SCRIPTING] [] ["request_policy:all_nodes", "response_policy:all_succeeded"] Server(script::flush);
    "script|show" 3 [NOSCRIPT] [SLOW SCRIPTING] [] [] Server(script::show);
    "script|kill" 2 [NOSCRIPT ALLOW_BUSY] [SLOW SCRIPTING] [] ["request_policy:all_shards", "response_policy:one_succeeded"] Server(script::kill);
};

static FUNCTION: &[Command] = &commands! {
    "function|load" -3 [WRITE DENYOOM NOSCRIPT] [WRITE SLOW SCRIPTING] [] ["request_policy:all_shards", "response_policy:all_succeeded"] Server(function::load);
    "function|delete" 3 [WRITE NOSCRIPT] [WRITE SLOW SCRIPTING] [] ["request_policy:all_shards", "response_policy:all_succeeded"] Server(function::delete);
    "function|flush" -2 [WRITE NOSCRIPT] [WRITE SLOW SCRIPTING] [] ["request_policy:all_shards", "response_policy:all_succeeded"] Server(function::flush);
    "function|restore" -3 [WRITE DENYOOM NOSCRIPT] [WRITE SLOW SCRIPTING] [] ["request_policy:all_shards", "response_policy:all_succeeded"] Server(function::restore);
    "function|dump" 2 [NOSCRIPT] [SLOW SCRIPTING] [] [] Server(function::dump);
    "function|help" 2 [LOADING STALE] [SLOW SCRIPTING] [] [] Server(function::help);
    "function|list" -2 [NOSCRIPT] [SLOW SCRIPTING] [] ["nondeterministic_output_order"] Server(function::list);
    "function|kill" 2 [NOSCRIPT ALLOW_BUSY] [SLOW SCRIPTING] [] ["request_policy:all_shards", "response_policy:one_succeeded"] Server(function::kill);
    "function|stats" 2 [NOSCRIPT ALLOW_BUSY] [SLOW SCRIPTING] [] ["nondeterministic_output", "request_policy:all_shards", "response_policy:special"] Server(function::stats);
};

static COMMANDLOG: &[Command] = &commands! {
    "commandlog|help" 2 [LOADING STALE] [SLOW] [] [] Server(slowlog::command_help);
    "commandlog|reset" 3 [ADMIN LOADING STALE] [ADMIN SLOW DANGEROUS] [] ["request_policy:all_nodes", "response_policy:all_succeeded"] Server(slowlog::command_reset);
    "commandlog|len" 3 [ADMIN LOADING STALE] [ADMIN SLOW DANGEROUS] [] ["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"] Server(slowlog::command_len);
    "commandlog|get" -4 [ADMIN LOADING STALE] [ADMIN SLOW DANGEROUS] [] ["request_policy:all_nodes", "nondeterministic_output"] Server(slowlog::command_get);
};

static MEMORY: &[Command] = &commands! {
    "memory|doctor" 2 [] [SLOW] [] ["nondeterministic_output", "request_policy:all_shards", "response_policy:special"] Server(memory::doctor);
    "memory|help" 2 [LOADING STALE] [SLOW] [] [] Server(memory::help);
    "memory|malloc-stats" 2 [] [SLOW] [] ["nondeterministic_output", "request_policy:all_shards", "response_policy:special"] Server(memory::malloc_stats);
    "memory|purge" 2 [] [SLOW] [] ["request_policy:all_shards", "response_policy:all_succeeded"] Server(memory::purge);
    "memory|stats" 2 [] [SLOW] [] ["nondeterministic_output", "request_policy:all_shards", "response_policy:special"] Server(memory::stats);
    "memory|usage" -3 [READONLY] [READ SLOW] [at(2, RO)] [] Data(memory::usage);
};

static MODULE: &[Command] = &commands! {
    "module|help" 2 [LOADING STALE] [SLOW] [] [] Server(module::help);
    "module|list" 2 [ADMIN NOSCRIPT] [ADMIN SLOW DANGEROUS] [] ["nondeterministic_output_order"] Server(module::list);
    "module|load" -3 [NO_ASYNC_LOADING ADMIN NOSCRIPT] [ADMIN SLOW DANGEROUS] [] [] Server(module::load);
    "module|loadex" -3 [NO_ASYNC_LOADING ADMIN NOSCRIPT] [ADMIN SLOW DANGEROUS] [] [] Server(module::load);
    "module|unload" 3 [NO_ASYNC_LOADING ADMIN NOSCRIPT] [ADMIN SLOW DANGEROUS] [] [] Server(module::unload);
};
