//! The operator: sends single commands to nodes and insists until they are answered without an error.

use crate::client::CLIENT_PORT;
use crate::network::{EndRef, Host, Network, Notice};
use crate::resp::{self, Reply};
use crate::time::{MS, Micros};

/// The operator's desk.
#[derive(Debug)]
pub struct Operator {
    host: Host,
    jobs: Vec<Job>,
}

#[derive(Debug)]
struct Job {
    node: u16,
    line: String,
    end: Option<EndRef>,
    due: Micros,
    tries: u32,
}

impl Operator {
    /// An operator at this host.
    pub fn new(host: Host) -> Operator {
        Operator {
            host,
            jobs: Vec::new(),
        }
    }

    /// A command to send; whether the operator was idle, and so needs a first tick.
    pub fn add(&mut self, node: u16, line: String) -> bool {
        self.jobs.push(Job {
            node,
            line,
            end: None,
            due: 0,
            tries: 0,
        });
        self.jobs.len() == 1
    }

    /// Drops all orders that are not carried out yet. (What is on its way may still arrive.)
    pub fn forget(&mut self) {
        self.jobs.clear();
    }

    /// Opens the connections that are due; when to call again.
    pub fn tick(&mut self, now: Micros, net: &mut Network) -> Option<Micros> {
        for job in self.jobs.iter_mut().filter(|job| job.due <= now) {
            if let Some(end) = job.end.take() {
                net.close(now, end);
            }
            job.tries += 1;
            job.due = now + 500 * MS;
            job.end = (job.tries <= 10).then(|| net.connect(now, self.host, job.node, CLIENT_PORT));
        }
        self.jobs.retain(|job| job.end.is_some());
        self.jobs.iter().map(|job| job.due).min()
    }

    /// News of a connection.
    pub fn on_notice(&mut self, now: Micros, net: &mut Network, end: EndRef, notice: &Notice) {
        let Some(index) = self.jobs.iter().position(|job| job.end == Some(end)) else {
            if matches!(notice, Notice::Closed { .. }) {
                net.close(now, end);
            }
            return;
        };
        match notice {
            Notice::Connected => {
                let words: Vec<&str> = self.jobs[index].line.split(' ').collect();
                let mut bytes = Vec::new();
                resp::encode_request(&mut bytes, &words);
                net.send(now, end, &bytes, 0);
            }
            Notice::Readable => {
                if let Ok(Some((reply, _))) = resp::parse(net.readable(end)) {
                    net.close(now, end);
                    self.jobs[index].end = None;
                    if !matches!(reply, Reply::Error(_)) {
                        self.jobs.remove(index);
                    }
                }
            }
            Notice::Closed { .. } => {
                net.close(now, end);
                self.jobs[index].end = None;
            }
            Notice::Accepted { .. } | Notice::Writable => {}
        }
    }
}
