//! MIGRATE's connections: opened, written to and closed as the transfers need it.

use bytes::Bytes;

use super::Engine;
use super::links::LinkKind;
use crate::command::migrate::{self, Need};
use crate::face::Now;

impl Engine {
    /// Lets transfers go on: gives them connections, sends their commands, carries out their ends.
    pub(super) fn migrate_step(&mut self, now: Now) {
        if self.parts.transfers.is_quiet() {
            return;
        }
        let links = &self.links;
        let unsent = |conn| links.output(conn).is_some_and(|out| out.pending() > 0);
        self.parts.transfers.give_up_overdue(now, unsent);
        while let Some(need) = self.parts.transfers.next_need() {
            match need {
                Need::Connection { ticket, host, port } => {
                    let conn = self.open(host, port, LinkKind::Target);
                    self.parts.transfers.opening(ticket, conn, now);
                }
                Need::Commands {
                    ticket,
                    conn,
                    selected,
                } => {
                    let Some(order) = self.parts.transfers.order(ticket) else {
                        continue;
                    };
                    let (bytes, preludes, keys) =
                        migrate::compose(&self.parts, now, order, selected);
                    self.links.send(conn, Bytes::from(bytes));
                    (self.parts.transfers).sent(ticket, conn, preludes, keys, now);
                }
            }
        }
        if self.parts.transfers.nested_is_over() {
            // It was waited for: the next turn goes on with it, then with what came meanwhile.
            self.parts.resume_all();
        }
        if migrate::may_finish(&self.parts) {
            migrate::finish(&mut self.parts);
        }
        while let Some(conn) = self.parts.transfers.next_to_close() {
            self.close(conn);
        }
    }
}
