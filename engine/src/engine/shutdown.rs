//! An orderly end: replicas catch up, data is saved, files are durable, then the process may go.
//! Source: <https://redis.io/commands/shutdown/>

use alloc::format;

use super::Engine;
use crate::client::Blocked;
use crate::command::context::{ShutdownWish, condition};
use crate::face::{Effect, LogLevel, Now, Status};
use crate::persistence::FlushState;

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Replicas catch up, until this monotonic time in microseconds.
    Replicas(u64),
    /// The snapshot is to be begun.
    Save,
    /// It is being written.
    Saving,
    /// The append-only file and nodes.conf are being made durable.
    Flush,
}

/// A shutdown under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shutdown {
    wish: ShutdownWish,
    pub stage: Stage,
    gave_up: GaveUp,
}

/// What was under way and has been ended for a shutdown. It is begun again if that is called off: whoever asked for it
/// was told that it would be done.
#[derive(Clone, Copy, Debug, Default)]
struct GaveUp {
    save: bool,
    rewrite: bool,
}

impl Engine {
    /// Begins to shut down.
    pub(super) fn shut_down(&mut self, now: Now, wish: ShutdownWish) {
        if self.shutdown.is_some() {
            return;
        }
        self.parts
            .log(LogLevel::Warning, "User requested shutdown...");
        self.tell(Status::Stopping);
        let wait = !wish.now && self.parts.config.shutdown_timeout > 0 && self.replicas_lag();
        // No write may come between what replicas and files hold and the end.
        self.parts.shutting_down = true;
        self.update_pause();
        let gave_up = GaveUp::default();
        let begin = |stage| {
            Some(Shutdown {
                wish,
                stage,
                gave_up,
            })
        };
        self.shutdown = if wait {
            self.parts.log(
                LogLevel::Notice,
                "Waiting for replicas before shutting down.",
            );
            self.parts.replication.request_acks();
            let timeout_us = u64::from(self.parts.config.shutdown_timeout) * 1_000_000;
            self.parts.shutdown_deadline_us = Some(now.mono_us + timeout_us);
            begin(Stage::Replicas(now.mono_us + timeout_us))
        } else {
            begin(Stage::Save)
        };
        if !wait {
            self.leave_replicas(now, wish.force);
        }
    }

    /// Replicas have what they will get: now files are to. (While the append-only file has no base yet, nothing would be
    /// found in it.)
    fn leave_replicas(&mut self, now: Now, force: bool) {
        self.log_replicas(now);
        self.go_on(Stage::Save);
        if self.parts.persistence.writes_first_base() {
            if !force {
                return self.call_off("Writing initial AOF, can't exit.");
            }
            let text = "Writing initial AOF. Exit anyway.";
            self.parts.log(LogLevel::Warning, text);
        }
    }

    fn replicas_lag(&self) -> bool {
        let replication = &self.parts.replication;
        replication.replica_count() > replication.acked_replicas(self.parts.journal.end())
    }

    /// Goes on with a shutdown, if one is under way.
    pub(super) fn shutdown_step(&mut self, now: Now) {
        let Some(Shutdown { wish, stage, .. }) = self.shutdown else {
            return;
        };
        // A transaction that waits for another server is to be saved all, or not at all.
        if self.parts.transfers.holds_all() {
            return;
        }
        match stage {
            Stage::Replicas(until) if self.replicas_lag() && now.mono_us < until => {}
            Stage::Replicas(_) => self.leave_replicas(now, wish.force),
            Stage::Save => {
                let points = !self.parts.config.save.0.is_empty();
                if wish.nosave || !(wish.save || points) || self.parts.is(condition::LOADING) {
                    self.give_up_save();
                    return self.flush();
                }
                // What an earlier save still has to say is heard first: it must not be taken for the final one's.
                self.settle_persistence(now);
                // A snapshot that is under way is older than the last writes. Its end is waited for: it must not
                // be taken for the end of the final one.
                if self.parts.persistence.saving() || self.snapshot_under_way() {
                    self.give_up_save();
                    self.give_up_rewrite();
                    return;
                }
                if self.begin_save(now, false) {
                    self.parts.log(
                        LogLevel::Notice,
                        "Saving the final RDB snapshot before exiting.",
                    );
                    self.tell(Status::Saving);
                    self.go_on(Stage::Saving);
                }
            }
            Stage::Saving => {}
            Stage::Flush => {
                let conf = self
                    .parts
                    .cluster
                    .as_ref()
                    .is_none_or(|c| c.durable() >= c.version());
                if !conf {
                    // Something changed after the last save began.
                    self.with_cluster(now, |cluster| cluster.flush(now));
                }
                match self.parts.persistence.flush_state() {
                    FlushState::Pending => {}
                    FlushState::Done if !conf => {}
                    // Something of our own came in meanwhile, such as a PING for replicas.
                    FlushState::Done if self.flush_rest() => {}
                    FlushState::Failed if !wish.force => {
                        self.call_off("Writing to the append only file failed")
                    }
                    // Files that were begun are being removed.
                    FlushState::Done | FlushState::Failed if !self.parts.persistence.is_quiet() => {
                    }
                    FlushState::Done | FlushState::Failed => {
                        self.parts
                            .log(LogLevel::Warning, "Redis is now ready to exit, bye bye...");
                        self.parts.outbox.push_back(Effect::Exit { code: 0 });
                        self.shutdown = None;
                    }
                }
            }
        }
    }

    /// Whether the files are being made durable for the end.
    pub(super) fn flushing(&self) -> bool {
        self.shutdown
            .is_some_and(|shutdown| shutdown.stage == Stage::Flush)
    }

    fn flush_rest(&mut self) -> bool {
        let parts = &mut self.parts;
        parts.journal.seal();
        parts.persistence.flush_rest(&parts.journal)
    }

    fn go_on(&mut self, stage: Stage) {
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.stage = stage;
        }
    }

    fn flush(&mut self) {
        // It would leave its file behind.
        self.give_up_rewrite();
        let (now, parts) = (self.now, &mut self.parts);
        parts.journal.seal();
        parts.persistence.flush(&parts.journal);
        self.with_cluster(now, |cluster| cluster.flush(now));
        self.go_on(Stage::Flush);
    }

    /// Ends a snapshot in the background; not one that is complete but for its name.
    fn give_up_save(&mut self) {
        let persistence = &mut self.parts.persistence;
        let background = persistence.saving_in_background();
        persistence.abort_save();
        let ended = background && !persistence.saving();
        if ended && let Some(shutdown) = &mut self.shutdown {
            shutdown.gave_up.save = true;
            let text = "There is a child saving an .rdb. Killing it!";
            self.parts.log(LogLevel::Warning, text);
        }
    }

    /// Ends a rewrite of the append-only file: what there is of it holds all the data.
    fn give_up_rewrite(&mut self) {
        let persistence = &mut self.parts.persistence;
        if persistence.rewriting()
            && let Some(shutdown) = &mut self.shutdown
        {
            persistence.abort_rewrite();
            shutdown.gave_up.rewrite = true;
            let text = "There is a child rewriting the AOF. Killing it!";
            self.parts.log(LogLevel::Warning, text);
        }
    }

    /// The snapshot that the shutdown waits for is complete, or failed.
    pub(super) fn shutdown_saved(&mut self, ok: bool) {
        let Some(Shutdown {
            wish,
            stage: Stage::Saving,
            gave_up,
        }) = &mut self.shutdown
        else {
            return;
        };
        let wish = *wish;
        // It is newer than the one that was ended for it.
        gave_up.save &= !ok;
        if !ok && wish.force {
            let text = "Error trying to save the DB. Exit anyway.";
            self.parts.log(LogLevel::Warning, text);
        }
        if ok || wish.force {
            return self.flush();
        }
        self.call_off("Error trying to save the DB, can't exit.");
    }

    /// A client has changed its mind.
    pub(super) fn abort_shutdown(&mut self) {
        self.parts
            .log(LogLevel::Notice, "Shutdown manually aborted.");
        self.tell(Status::Resumed);
        self.resume();
    }

    fn tell(&mut self, status: Status) {
        self.parts.outbox.push_back(Effect::Status(status));
    }

    /// How far replicas have come, once nobody waits for them any longer.
    fn log_replicas(&mut self, now: Now) {
        let parts = &mut self.parts;
        let end = parts.journal.end();
        let lagging = parts.replication.lagging(now, end);
        let all = parts.replication.replica_count();
        let in_sync = all - lagging.len();
        for text in lagging {
            parts.log(LogLevel::Warning, text);
        }
        if all > 0 {
            let text = format!("{in_sync} of {all} replicas are in sync when shutting down.");
            parts.log(LogLevel::Notice, text);
        }
    }

    /// The process stays.
    pub(super) fn call_off(&mut self, why: &str) {
        self.parts.log(LogLevel::Warning, why);
        self.tell(Status::Failed);
        self.parts.log(
            LogLevel::Warning,
            "Errors trying to shut down the server. Check the logs for more information.",
        );
        self.resume();
    }

    fn resume(&mut self) {
        let gave_up = (self.shutdown.take()).map_or(GaveUp::default(), |shutdown| shutdown.gave_up);
        self.parts.shutdown_deadline_us = None;
        self.parts.persistence.end_flush();
        if gave_up.save {
            self.parts.persistence.schedule_save();
        }
        if gave_up.rewrite {
            self.parts.persistence.schedule_rewrite();
        }
        self.parts.shutting_down = false;
        self.update_pause();
        self.stream(self.now, &[]); // what was held back
        for conn in self.parts.blocked.clone() {
            let Some(session) = self.parts.clients.get_mut(conn) else {
                continue;
            };
            if matches!(session.blocked.as_deref(), Some(Blocked::Shutdown)) {
                self.parts
                    .fail(conn, "ERR Errors trying to SHUTDOWN. Check logs.");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::VecDeque;
    use alloc::vec::Vec;

    use crate::command::testing::{NOW, engine_with, run};
    use crate::config::Config;
    use crate::face::{DiskReply, DiskRequest, Effect, Input, OpId};

    /// What came in while the file was being synced is synced, too, before the process goes: otherwise it would go in
    /// the middle of the write of that record.
    #[test]
    fn what_comes_in_during_the_last_sync_is_in_the_file() {
        let mut config = Config {
            appendonly: true,
            ..Config::default()
        };
        config.save.0.clear();
        let mut engine = engine_with(config);
        run(&mut engine, "SET a x");
        engine.handle(NOW, Input::Shutdown { signal: "SIGTERM" });
        let (mut asked, mut seen) = (VecDeque::<(OpId, DiskRequest)>::new(), Vec::new());
        let mut went_on = false;
        for _ in 0..100 {
            while let Some(effect) = engine.poll_effect() {
                match effect {
                    Effect::Disk { op, request } => asked.push_back((op, request)),
                    Effect::Exit { .. } => seen.push("exit"),
                    _ => {}
                }
            }
            if !went_on && matches!(asked.front(), Some((_, DiskRequest::Sync { .. }))) {
                went_on = true;
                engine.parts.journal.append_command(&[b"PING"]); // as for replicas
                engine.handle(NOW, Input::Tick);
                continue;
            }
            let Some((op, request)) = asked.pop_front() else {
                break;
            };
            match request {
                DiskRequest::Write { .. } => seen.push("write"),
                DiskRequest::Sync { .. } => seen.push("sync"),
                _ => {}
            }
            let result = Ok(DiskReply::Done);
            engine.handle(NOW, Input::Disk { op, result });
        }
        // The checksum of what is there, and then what came in with its own.
        assert_eq!(seen, ["write", "sync", "write", "sync", "exit"]);
    }
}
