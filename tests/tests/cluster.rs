//! Clusters made, questioned and moved about by redis-cli; nodes of both kinds in one.

use reprise_tests::cluster::{Client, Cluster};
use reprise_tests::content::content_of_node;
use reprise_tests::server::Launch;
use reprise_tests::wait::{SOON, until};
use reprise_tests::{Server, Value, oracle, subject};

const KEYS: usize = 500;

fn nodes(count: usize, launch: impl Fn() -> Launch) -> Vec<Launch> {
    (0..count).map(|_| launch()).collect()
}

fn write_all(client: &mut Client, value: &str) {
    for n in 0..KEYS {
        let reply = client.cmd(&["SET", &format!("key:{n}"), &format!("{value} {n}")]);
        assert!(reply.is_ok(), "key:{n}: {reply:?}");
    }
}

fn read_all(client: &mut Client, value: &str) {
    for n in 0..KEYS {
        let reply = client.cmd(&["GET", &format!("key:{n}")]);
        assert_eq!(reply, Value::bulk(format!("{value} {n}")), "key:{n}");
    }
}

fn id(node: &Server) -> String {
    node.run("CLUSTER MYID").text()
}

fn role(node: &Server) -> String {
    node.conn().info("replication", "role")
}

/// The replica of a primary, by index.
fn replica_of(cluster: &Cluster, primary: usize) -> usize {
    let port = cluster.nodes[primary].port().to_string();
    let follows = |node: &Server| {
        role(node) == "slave" && node.conn().info("replication", "master_port") == port
    };
    cluster.nodes.iter().position(follows).expect("a replica")
}

/// Waits until a replica has all of its primary's writes.
fn caught_up(cluster: &Cluster, primary: usize, replica: usize) {
    let offset = |node: usize| {
        cluster.nodes[node]
            .conn()
            .info("replication", "master_repl_offset")
    };
    until(SOON, "the replica has caught up", || {
        offset(primary) == offset(replica)
    });
}

#[test]
fn a_cluster_serves_redirects_and_checks_out() {
    if oracle().is_none() {
        return;
    }
    let cluster = Cluster::create(nodes(3, subject), 0);
    let mut client = cluster.client();
    write_all(&mut client, "a");
    read_all(&mut client, "a");
    let held: Vec<usize> = cluster
        .nodes
        .iter()
        .map(|node| content_of_node(&mut node.conn()).len())
        .collect();
    assert_eq!(held.iter().sum::<usize>(), KEYS);
    assert!(held.iter().all(|count| *count > KEYS / 6), "{held:?}");

    assert_eq!(
        client.cmd(&["CLUSTER", "KEYSLOT", "{user}.name"]),
        client.cmd(&["CLUSTER", "KEYSLOT", "user"])
    );
    let apart = Value::error("CROSSSLOT Keys in request don't hash to the same slot");
    assert_eq!(client.cmd(&["MSET", "a", "1", "b", "2"]), apart);
    assert!(client.cmd(&["MSET", "{t}a", "1", "{t}b", "2"]).is_ok());
    assert_eq!(
        client.cmd(&["MGET", "{t}a", "{t}b"]),
        Value::Array(vec![Value::bulk("1"), Value::bulk("2")])
    );

    let report = cluster.cli("check HERE");
    assert!(
        report.contains("[OK] All nodes agree about slots configuration"),
        "{report}"
    );
    assert!(report.contains("[OK] All 16384 slots covered"), "{report}");
    let info = cluster.cli("info HERE");
    assert!(
        info.contains(&format!("[OK] {} keys in 3 masters", KEYS + 2)),
        "{info}"
    );
    // Every node tells the same map.
    let slots = |node: &Server| {
        let mut ranges = node.run("CLUSTER SLOTS").items();
        ranges.sort();
        ranges
    };
    assert_eq!(slots(&cluster.nodes[0]).len(), 3);
    assert!(
        cluster
            .nodes
            .iter()
            .all(|node| slots(node) == slots(&cluster.nodes[0]))
    );
    assert_eq!(cluster.nodes[0].run("CLUSTER SHARDS").items().len(), 3);
}

/// Three primaries and three replicas; one primary is killed, replaced, and comes back as a replica.
fn survives_a_crash(launches: Vec<Launch>) {
    let mut cluster = Cluster::create(launches, 1);
    let mut client = cluster.client();
    write_all(&mut client, "before");
    let victim = cluster
        .nodes
        .iter()
        .position(|node| role(node) == "master")
        .expect("a primary");
    let heir = replica_of(&cluster, victim);
    caught_up(&cluster, victim, heir);

    cluster.nodes[victim].kill();
    until(SOON * 2, "the replica is promoted", || {
        role(&cluster.nodes[heir]) == "master"
    });
    until(SOON * 2, "the cluster works again", || {
        cluster
            .running()
            .all(|node| node.run("CLUSTER INFO").text().contains("cluster_state:ok"))
    });
    let mut client = cluster.client();
    client.begin_at(&cluster.nodes[heir]);
    read_all(&mut client, "before");
    write_all(&mut client, "after");

    cluster.nodes[victim].restart();
    until(SOON * 2, "the old primary follows", || {
        role(&cluster.nodes[victim]) == "slave"
    });
    cluster.settle(6);
    caught_up(&cluster, heir, victim);
    let held = |node: usize| content_of_node(&mut cluster.nodes[node].conn());
    assert!(
        held(heir) == held(victim),
        "the old primary holds something else"
    );
    read_all(&mut cluster.client(), "after");
}

#[test]
fn a_dead_primary_is_replaced() {
    if oracle().is_none() {
        return;
    }
    survives_a_crash(nodes(6, subject));
}

#[test]
fn nodes_of_both_kinds_share_a_cluster() {
    let (Some(a), Some(b), Some(c)) = (oracle(), oracle(), oracle()) else {
        return;
    };
    // redis-cli makes the first three the primaries: each kind has both roles.
    survives_a_crash(vec![subject(), a, subject(), b, subject(), c]);
}

#[test]
fn a_slot_on_the_move_asks() {
    if oracle().is_none() {
        return;
    }
    let cluster = Cluster::create(nodes(3, subject), 0);
    let mut client = cluster.client();
    assert!(client.cmd(&["SET", "{t}here", "1"]).is_ok());
    let slot = client.cmd(&["CLUSTER", "KEYSLOT", "{t}here"]).text();
    let owns =
        |node: &&Server| node.run(&format!("CLUSTER COUNTKEYSINSLOT {slot}")) == Value::Int(1);
    let source = cluster.nodes.iter().find(owns).expect("an owner");
    let target = cluster
        .nodes
        .iter()
        .find(|node| node.port() != source.port())
        .expect("another");
    assert!(
        target
            .run(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", id(source)))
            .is_ok()
    );
    assert!(
        source
            .run(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", id(target)))
            .is_ok()
    );
    let ask = Value::error(&format!("ASK {slot} 127.0.0.1:{}", target.port()));
    let moved = Value::error(&format!("MOVED {slot} 127.0.0.1:{}", source.port()));
    assert_eq!(source.run("GET {t}here"), Value::bulk("1"));
    assert_eq!(source.run("GET {t}gone"), ask);
    assert_eq!(target.run("GET {t}gone"), moved);
    let mut asking = target.conn();
    assert!(asking.run("ASKING").is_ok());
    assert_eq!(asking.run("GET {t}gone"), Value::NullBulk);
    assert_eq!(asking.run("GET {t}gone"), moved);
    assert_eq!(
        source.run("MGET {t}here {t}gone"),
        Value::error("TRYAGAIN Multiple keys request during rehashing of slot")
    );
    let migrate = source.run(&format!(
        "MIGRATE 127.0.0.1 {} {{t}}here 0 5000",
        target.port()
    ));
    assert!(migrate.is_ok(), "{migrate:?}");
    for node in [target, source] {
        assert!(
            node.run(&format!("CLUSTER SETSLOT {slot} NODE {}", id(target)))
                .is_ok()
        );
    }
    assert_eq!(client.cmd(&["GET", "{t}here"]), Value::bulk("1"));
}

#[test]
fn a_manual_failover_loses_nothing() {
    if oracle().is_none() {
        return;
    }
    let cluster = Cluster::create(nodes(6, subject), 1);
    let mut client = cluster.client();
    write_all(&mut client, "v");
    let primary = cluster
        .nodes
        .iter()
        .position(|node| role(node) == "master")
        .expect("a primary");
    let replica = replica_of(&cluster, primary);
    assert!(cluster.nodes[replica].run("CLUSTER FAILOVER").is_ok());
    until(SOON, "the roles are exchanged", || {
        role(&cluster.nodes[replica]) == "master" && role(&cluster.nodes[primary]) == "slave"
    });
    cluster.settle(6);
    read_all(&mut client, "v");
    write_all(&mut client, "w");
}

#[test]
fn replicas_serve_reads_to_those_who_ask_for_it() {
    if oracle().is_none() {
        return;
    }
    let cluster = Cluster::create(nodes(6, subject), 1);
    let mut client = cluster.client();
    assert!(client.cmd(&["SET", "key", "v"]).is_ok());
    let slot = client.cmd(&["CLUSTER", "KEYSLOT", "key"]).text();
    let owner = cluster.nodes.iter().position(|node| {
        role(node) == "master"
            && node.run(&format!("CLUSTER COUNTKEYSINSLOT {slot}")) == Value::Int(1)
    });
    let owner = owner.expect("an owner");
    let replica = replica_of(&cluster, owner);
    caught_up(&cluster, owner, replica);
    let moved = Value::error(&format!(
        "MOVED {slot} 127.0.0.1:{}",
        cluster.nodes[owner].port()
    ));
    let mut conn = cluster.nodes[replica].conn();
    assert_eq!(conn.run("GET key"), moved);
    assert!(conn.run("READONLY").is_ok());
    assert_eq!(conn.run("GET key"), Value::bulk("v"));
    assert_eq!(conn.run("SET key w"), moved);
    assert!(conn.run("READWRITE").is_ok());
    assert_eq!(conn.run("GET key"), moved);
}

#[test]
fn a_node_remembers_its_cluster() {
    if oracle().is_none() {
        return;
    }
    let mut cluster = Cluster::create(nodes(3, subject), 0);
    let (before, map) = (
        id(&cluster.nodes[1]),
        cluster.nodes[1].run("CLUSTER SLOTS").items().len(),
    );
    cluster.nodes[1].kill();
    cluster.nodes[1].restart();
    cluster.settle(3);
    assert_eq!(id(&cluster.nodes[1]), before);
    assert_eq!(cluster.nodes[1].run("CLUSTER SLOTS").items().len(), map);
    write_all(&mut cluster.client(), "v");
}

#[test]
fn a_cluster_without_one_of_its_primaries_says_so() {
    if oracle().is_none() {
        return;
    }
    let mut cluster = Cluster::create(nodes(3, subject), 0);
    cluster.nodes[2].kill();
    until(SOON * 2, "the others notice", || {
        cluster.running().all(|node| {
            node.run("CLUSTER INFO")
                .text()
                .contains("cluster_state:fail")
        })
    });
    let reply = cluster.client().cmd(&["GET", "key"]);
    assert!(reply.text().starts_with("CLUSTERDOWN "), "{reply:?}");
    cluster.nodes[2].restart();
    cluster.settle(3);
    write_all(&mut cluster.client(), "v");
}

#[test]
fn the_redis_crate_finds_its_way() -> redis::RedisResult<()> {
    if oracle().is_none() {
        return Ok(());
    }
    let cluster = Cluster::create(nodes(3, subject), 0);
    let urls: Vec<String> = cluster
        .nodes
        .iter()
        .map(|node| format!("redis://127.0.0.1:{}", node.port()))
        .collect();
    let mut conn = redis::cluster::ClusterClient::new(urls)?.get_connection()?;
    use redis::Commands;
    for n in 0..100 {
        conn.set::<_, _, ()>(format!("key:{n}"), n)?;
    }
    for n in 0..100 {
        assert_eq!(conn.get::<_, i64>(format!("key:{n}"))?, n);
    }
    Ok(())
}
