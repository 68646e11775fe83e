//! Clusters of servers, made with redis-cli, and a client that follows where it is sent.

use crate::conn::Conn;
use crate::resp::Value;
use crate::server::{Launch, Server};
use crate::wait::{SOON, until};
use std::collections::BTreeMap;
use std::process::Command;

/// Servers that form a cluster.
pub struct Cluster {
    /// The nodes, running or not.
    pub nodes: Vec<Server>,
}

impl Cluster {
    /// Starts nodes and has redis-cli make a cluster of them, with one replica for each primary if
    /// there are enough.
    #[track_caller]
    pub fn create(nodes: Vec<Launch>, replicas: usize) -> Cluster {
        let nodes: Vec<Server> = nodes
            .into_iter()
            .map(|node| {
                node.set("cluster-enabled", "yes")
                    .set("cluster-node-timeout", "2000")
                    .start()
            })
            .collect();
        let cluster = Cluster { nodes };
        let addresses: Vec<String> = cluster
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port()))
            .collect();
        let mut args = vec!["--cluster".to_owned(), "create".to_owned()];
        args.extend(addresses);
        args.extend([
            "--cluster-replicas".to_owned(),
            replicas.to_string(),
            "--cluster-yes".to_owned(),
        ]);
        let report = redis_cli(&args);
        assert!(report.contains("[OK] All 16384 slots covered"), "{report}");
        cluster.settle(cluster.nodes.len());
        cluster
    }

    /// Waits until all that run agree that the cluster works and has so many nodes.
    #[track_caller]
    pub fn settle(&self, known: usize) {
        until(SOON * 2, "the cluster settles", || {
            self.running().all(|node| {
                let info = node.run("CLUSTER INFO").text();
                info.contains("cluster_state:ok")
                    && info.contains(&format!("cluster_known_nodes:{known}\r"))
            })
        });
        let replica = |node: &&Server| node.conn().info("replication", "role") == "slave";
        until(
            SOON * 2,
            "all replicas are linked, and all know them",
            || {
                let replicas: Vec<&Server> = self.running().filter(replica).collect();
                let known =
                    |node: &Server| node.run("CLUSTER NODES").text().matches("slave ").count();
                replicas
                    .iter()
                    .all(|node| node.conn().info("replication", "master_link_status") == "up")
                    && self.running().all(|node| known(node) == replicas.len())
            },
        );
    }

    /// The nodes that run.
    pub fn running(&self) -> impl Iterator<Item = &Server> {
        self.nodes.iter().filter(|node| node.pid().is_some())
    }

    /// A client of the whole cluster.
    pub fn client(&self) -> Client {
        let first = self
            .running()
            .next()
            .map(Server::port)
            .expect("a node that runs");
        Client {
            conns: BTreeMap::new(),
            current: first,
        }
    }

    /// Runs `redis-cli --cluster` with the first running node's address in place of `HERE`.
    #[track_caller]
    pub fn cli(&self, line: &str) -> String {
        let here = format!(
            "127.0.0.1:{}",
            self.running().next().expect("a node that runs").port()
        );
        let args: Vec<String> = line
            .split(' ')
            .map(|word| word.replace("HERE", &here))
            .collect();
        redis_cli(&[vec!["--cluster".to_owned()], args].concat())
    }
}

fn redis_cli(args: &[String]) -> String {
    let output = Command::new("redis-cli")
        .args(args)
        .output()
        .expect("redis-cli");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A client that follows MOVED and ASK.
pub struct Client {
    conns: BTreeMap<u16, Conn>,
    current: u16,
}

impl Client {
    /// Sends a command to where it belongs; [`Value::Closed`] if a node on the way is gone.
    #[track_caller]
    pub fn cmd(&mut self, args: &[&str]) -> Value {
        let mut asking = false;
        for _ in 0..16 {
            let reply = match self.conn() {
                Some(conn) => {
                    if asking {
                        conn.cmd(&["ASKING"]);
                    }
                    conn.cmd(args)
                }
                None => Value::Closed,
            };
            let text = reply.text();
            let words: Vec<&str> = text.split(' ').collect();
            match words.as_slice() {
                ["MOVED" | "ASK", _, address] if reply.is_error() => {
                    let port = address
                        .rsplit(':')
                        .next()
                        .and_then(|port| port.parse().ok());
                    self.current = port.unwrap_or_else(|| panic!("no address in {text}"));
                    asking = words[0] == "ASK";
                }
                _ => {
                    if reply == Value::Closed {
                        self.conns.remove(&self.current);
                    }
                    return reply;
                }
            }
        }
        panic!("{args:?} is sent in circles")
    }

    /// Starts over from a node that is known to run.
    pub fn begin_at(&mut self, node: &Server) {
        self.current = node.port();
    }

    fn conn(&mut self) -> Option<&mut Conn> {
        if !self.conns.contains_key(&self.current) {
            self.conns
                .insert(self.current, Conn::open(self.current).ok()?);
        }
        self.conns.get_mut(&self.current)
    }
}
