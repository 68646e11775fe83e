//! MEMORY, and INFO's section of that name: where the memory is.
//!
//! All figures come from what the engine accounts for itself ([`Overview`]); the system's word on the whole process
//! stands beside them. <https://redis.io/docs/latest/commands/memory-stats/>

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use super::context::{Data, Parts, Server};
use super::error::CommandError;
use super::evict;
use super::help;
use super::string::integer;
use super::table::Outcome;
use crate::client::Session;
use crate::face::Effect;
use crate::resp::Output;
use crate::script::Kind;
use crate::store::Table;

/// Where the memory is, in bytes.
pub(super) struct Overview {
    /// All that is accounted for.
    pub used: u64,
    /// The most that ever was.
    pub peak: u64,
    /// What an empty server has.
    pub startup: u64,
    /// What counts against `maxmemory`.
    pub counted: u64,
    /// Clients that are no replicas.
    pub clients: u64,
    /// Replicas, with what of the log is held for them alone.
    pub replicas: u64,
    /// Of the log, what is held for replicas that may come back.
    pub backlog: u64,
    /// The log that replicas and the append-only file read.
    pub journal: u64,
    /// Of it, what is not in the append-only file yet.
    pub aof_buffer: u64,
    /// Scripts that are cached.
    pub scripts: u64,
    /// Functions.
    pub functions: u64,
    /// Links of the cluster bus.
    pub links: u64,
    /// What clients have cached.
    pub tracking: u64,
    /// What is no data.
    pub overhead: u64,
    /// Resident set size of the process.
    pub resident: u64,
    /// Number of keys.
    pub keys: u64,
}

/// What the structures take that are there before there is any data or client.
pub(crate) fn fixed_bytes(parts: &Parts) -> u64 {
    let commands = parts.stats.commands.len() * size_of::<super::stats::CommandStats>()
        + parts.index.all().len() * size_of::<usize>();
    (size_of::<Parts>() + commands) as u64
}

impl Overview {
    /// The figures now. `asking` is the session that asks, which is not among the clients.
    pub fn new(parts: &Parts, asking: Option<&Session>) -> Overview {
        let census = super::info::census(parts, asking);
        let clients = census.bytes;
        let counted = evict::used(parts);
        let journal = parts.journal.bytes_held() as u64;
        let scripts = &parts.scripts;
        let cached = (scripts.cache_bytes + scripts.cache.len() * 64) as u64;
        let functions =
            (scripts.libraries.code_bytes() + scripts.libraries.functions() * 96) as u64;
        let tracking = parts.watches.tracking.memory() as u64;
        let links = (parts.cluster.as_ref()).map_or(0, |cluster| cluster.link_bytes()) as u64;
        let backlog = journal.min(parts.config.repl_backlog_size);
        let others =
            clients + census.replica_bytes + journal + cached + functions + tracking + links;
        let used = fixed_bytes(parts) + parts.store.bytes() as u64 + others;
        let databases = parts.store.databases();
        let tables = databases
            .iter()
            .map(|d| (d.table().bytes() + d.deadline_bytes()) as u64);
        let tables: u64 = tables.sum();
        let startup = parts.startup_bytes;
        let report = &parts.memory_report;
        Overview {
            used,
            peak: parts.stats.peak_bytes.max(used),
            startup,
            counted,
            clients,
            replicas: match census.replicas {
                0 => 0,
                _ => census.replica_bytes + journal - backlog,
            },
            backlog,
            journal,
            aof_buffer: {
                let info = parts.persistence.info(parts.started, parts.changes);
                info.aof.map_or(0, |aof| aof.buffer_length)
            },
            scripts: cached,
            functions,
            links,
            tracking,
            overhead: (fixed_bytes(parts) + others + tables).min(used),
            resident: match report.rss_bytes {
                0 => used,
                resident => resident,
            },
            keys: databases.iter().map(|d| d.len() as u64).sum(),
        }
    }

    /// Bytes of the data itself.
    pub fn dataset(&self) -> u64 {
        self.used - self.overhead
    }

    /// Of what was added since the start, the part that is data, in percents.
    pub fn dataset_percentage(&self) -> f64 {
        let added = self.used.saturating_sub(self.startup);
        share(self.dataset(), added)
    }

    /// Of the most that ever was, what there is now, in percents.
    pub fn peak_percentage(&self) -> f64 {
        share(self.used, self.peak)
    }

    /// Resident bytes for each byte that is used.
    pub fn fragmentation(&self) -> f64 {
        self.resident as f64 / self.used.max(1) as f64
    }

    /// Resident bytes that are not used.
    pub fn fragmentation_bytes(&self) -> i64 {
        self.resident as i64 - self.used as i64
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

/// `MEMORY USAGE key [SAMPLES count]`. Nothing is estimated from samples here: each value knows what it takes.
/// <https://redis.io/commands/memory-usage/>
pub(super) fn usage(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    for pair in args[3..].chunks(2) {
        match pair {
            [word, count] if word.eq_ignore_ascii_case(b"samples") => {
                if integer(count)? < 0 {
                    return Err(CommandError::SYNTAX);
                }
            }
            _ => return Err(CommandError::SYNTAX),
        }
    }
    let key = d.key(args[2]);
    match d.seek(key) {
        None => d.out.null(),
        Some(place) => {
            let entry = d.store.entry(d.db, place);
            let mut bytes = entry.memory() + Table::BYTES_PER_PLACE;
            if entry.deadline().is_some() {
                bytes += crate::store::DEADLINE_BYTES;
            }
            d.out.int(bytes as i64);
        }
    }
    Ok(())
}

/// A value of MEMORY STATS.
enum Figure {
    Bytes(u64),
    Signed(i64),
    Ratio(f64),
}

impl Figure {
    fn write(&self, out: &mut Output) {
        match *self {
            Figure::Bytes(n) => out.int(n as i64),
            Figure::Signed(n) => out.int(n),
            Figure::Ratio(x) => out.double(x),
        }
    }
}

/// `MEMORY STATS`. <https://redis.io/commands/memory-stats/>
pub(super) fn stats(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    use Figure::{Bytes, Ratio, Signed};
    let o = Overview::new(s.parts, Some(&*s.session));
    let before = [
        ("peak.allocated", Bytes(o.peak)),
        ("total.allocated", Bytes(o.used)),
        ("startup.allocated", Bytes(o.startup)),
        ("replication.backlog", Bytes(o.backlog)),
        ("clients.slaves", Bytes(o.replicas)),
        ("clients.normal", Bytes(o.clients)),
        ("cluster.links", Bytes(o.links)),
        ("aof.buffer", Bytes(o.aof_buffer)),
        ("lua.caches", Bytes(o.scripts)),
        ("functions.caches", Bytes(o.functions)),
    ];
    let per_key = o.used.saturating_sub(o.startup).checked_div(o.keys);
    let after = [
        ("overhead.total", Bytes(o.overhead)),
        ("keys.count", Bytes(o.keys)),
        ("keys.bytes-per-key", Bytes(per_key.unwrap_or(0))),
        ("dataset.bytes", Bytes(o.dataset())),
        ("dataset.percentage", Ratio(o.dataset_percentage())),
        ("peak.percentage", Ratio(o.peak_percentage())),
        ("allocator.allocated", Bytes(o.used)),
        ("allocator.active", Bytes(o.resident)),
        ("allocator.resident", Bytes(o.resident)),
        ("allocator-fragmentation.ratio", Ratio(o.fragmentation())),
        (
            "allocator-fragmentation.bytes",
            Signed(o.fragmentation_bytes()),
        ),
        ("allocator-rss.ratio", Ratio(1.0)),
        ("allocator-rss.bytes", Signed(0)),
        ("rss-overhead.ratio", Ratio(1.0)),
        ("rss-overhead.bytes", Signed(0)),
        ("fragmentation", Ratio(o.fragmentation())),
        ("fragmentation.bytes", Signed(o.fragmentation_bytes())),
    ];
    let databases: Vec<(usize, usize, usize)> = (s.parts.store.databases().iter().enumerate())
        .filter(|(_, database)| !database.is_empty())
        .map(|(n, d)| (n, d.table().bytes(), d.deadline_bytes()))
        .collect();
    let out = &mut s.session.out;
    out.map(before.len() + databases.len() + after.len());
    let write = |out: &mut Output, figures: &[(&str, Figure)]| {
        for (name, figure) in figures {
            out.bulk(name.as_bytes());
            figure.write(out);
        }
    };
    write(out, &before);
    for (n, table, deadlines) in databases {
        out.bulk(format!("db.{n}").as_bytes());
        out.map(3);
        write(
            out,
            &[
                ("overhead.hashtable.main", Bytes(table as u64)),
                ("overhead.hashtable.expires", Bytes(deadlines as u64)),
                ("overhead.hashtable.slot-to-keys", Bytes(0)),
            ],
        );
    }
    write(out, &after);
    Ok(())
}

/// Below this, in bytes, figures say nothing.
const TOO_LITTLE: u64 = 5 << 20;

/// `MEMORY DOCTOR`. <https://redis.io/commands/memory-doctor/>
pub(super) fn doctor(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    let o = Overview::new(s.parts, Some(&*s.session));
    let replicas = s.parts.replication.replica_count() as u64;
    let clients = (s.parts.clients.len() as u64 + 1).saturating_sub(replicas);
    let mut text = String::new();
    if o.used < TOO_LITTLE {
        text += "There is too little data here to say anything about its memory.";
    } else {
        let findings: [(bool, String); 6] = [
            (
                o.peak as f64 > o.used as f64 * 1.5,
                format!(
                    "Peak: at some time {} bytes were used, more than one and a half times what is used now ({}). What \
                     the allocator got then it may keep: fragmentation looks worse than it is, and will until the data \
                     has grown again.",
                    o.peak, o.used
                ),
            ),
            (
                o.fragmentation() > 1.4 && o.fragmentation_bytes() > 10 << 20,
                format!(
                    "Fragmentation: the process holds {:.2} bytes of memory for each byte used. If that stays so, a \
                     restart, or a failover to a fresh replica, gives it back.",
                    o.fragmentation()
                ),
            ),
            (
                o.clients / clients.max(1) > 200 * 1024,
                String::from(
                    "Clients: their buffers take more than 200 KiB each on average. Look for clients that read slowly \
                     or ask for too much at once (CLIENT LIST, omem), and think of client-output-buffer-limit and \
                     maxmemory-clients.",
                ),
            ),
            (
                replicas > 0 && o.replicas / replicas > 10 << 20,
                String::from(
                    "Replicas: more than 10 MiB on average wait to be sent to each. They, or the network to them, may \
                     be too slow for what is written here.",
                ),
            ),
            (
                s.parts.scripts.cache.len() > 1000,
                String::from(
                    "Scripts: more than a thousand are cached. Scripts that are made up for each call, with their \
                     arguments in the text, are never used again; pass arguments in KEYS and ARGV.",
                ),
            ),
            (
                o.tracking > 100 << 20,
                String::from(
                    "Tracking: what clients may have cached takes more than 100 MiB to remember. Think of \
                     tracking-table-max-keys, or of broadcasting by prefixes.",
                ),
            ),
        ];
        for (_, finding) in findings.iter().filter(|(found, _)| *found) {
            let _ = write!(text, " * {finding}\n\n");
        }
        text = if text.is_empty() {
            String::from("All is well with this server's memory.")
        } else {
            format!("What stands out in this server's memory:\n\n{text}")
        };
    }
    text.push('\n');
    s.session.out.verbatim(text.as_bytes());
    Ok(())
}

/// `MEMORY PURGE`: the runtime has the allocator give back what it keeps.
/// <https://redis.io/commands/memory-purge/>
pub(super) fn purge(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    s.parts.outbox.push_back(Effect::Purge);
    s.session.out.ok();
    Ok(())
}

/// `MEMORY MALLOC-STATS`. <https://redis.io/commands/memory-malloc-stats/>
pub(super) fn malloc_stats(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    s.session
        .out
        .bulk(b"Stats not supported for the current allocator");
    Ok(())
}

/// `MEMORY HELP`. <https://redis.io/commands/memory-help/>
pub(super) fn help(s: &mut Server<'_>, _: &[&[u8]]) -> Outcome {
    help::help(&mut s.session.out, "MEMORY", help::MEMORY);
    Ok(())
}

/// Bytes as people read them: `1.50M`.
fn human(bytes: u64) -> String {
    let units = [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')];
    for (shift, unit) in units {
        if bytes >= 1 << shift {
            return format!("{:.2}{unit}", bytes as f64 / (1u64 << shift) as f64);
        }
    }
    format!("{bytes}B")
}

/// INFO's section.
pub(super) fn info(parts: &Parts, asking: Option<&Session>, out: &mut String) -> core::fmt::Result {
    let o = Overview::new(parts, asking);
    let report = &parts.memory_report;
    let mut bytes_and_human =
        |name: &str, bytes: u64| write!(out, "{name}:{bytes}\r\n{name}_human:{}\r\n", human(bytes));
    bytes_and_human("used_memory", o.used)?;
    bytes_and_human("used_memory_rss", o.resident)?;
    bytes_and_human("used_memory_peak", o.peak)?;
    write!(
        out,
        "used_memory_peak_perc:{:.2}%\r\n\
         used_memory_overhead:{}\r\n\
         used_memory_startup:{}\r\n\
         used_memory_dataset:{}\r\n\
         used_memory_dataset_perc:{:.2}%\r\n\
         allocator_allocated:{}\r\n\
         allocator_active:{resident}\r\n\
         allocator_resident:{resident}\r\n\
         total_system_memory:{}\r\n\
         total_system_memory_human:{}\r\n",
        o.peak_percentage(),
        o.overhead,
        o.startup,
        o.dataset(),
        o.dataset_percentage(),
        o.used,
        report.system_bytes,
        human(report.system_bytes),
        resident = o.resident,
    )?;
    let scripts = &parts.scripts;
    let eval = scripts.vm_memory(Kind::Eval) as u64;
    let functions = scripts.vm_memory(Kind::Functions) as u64;
    write!(
        out,
        "used_memory_lua:{eval}\r\n\
         used_memory_vm_eval:{eval}\r\n\
         used_memory_lua_human:{}\r\n\
         used_memory_scripts_eval:{}\r\n\
         number_of_cached_scripts:{}\r\n\
         number_of_functions:{}\r\n\
         number_of_libraries:{}\r\n\
         used_memory_vm_functions:{functions}\r\n\
         used_memory_vm_total:{}\r\n\
         used_memory_vm_total_human:{}\r\n\
         used_memory_functions:{}\r\n\
         used_memory_scripts:{}\r\n\
         used_memory_scripts_human:{}\r\n\
         maxmemory:{}\r\n\
         maxmemory_human:{}\r\n\
         maxmemory_policy:{}\r\n",
        human(eval),
        o.scripts,
        scripts.cache.len(),
        scripts.libraries.functions(),
        scripts.libraries.all().len(),
        eval + functions,
        human(eval + functions),
        o.functions,
        o.scripts + o.functions,
        human(o.scripts + o.functions),
        parts.config.maxmemory,
        human(parts.config.maxmemory),
        super::info::named(&parts.config, b"maxmemory-policy"),
    )?;
    write!(
        out,
        "allocator_frag_ratio:{fragmentation:.2}\r\n\
         allocator_frag_bytes:{fragments}\r\n\
         allocator_rss_ratio:1.00\r\n\
         allocator_rss_bytes:0\r\n\
         rss_overhead_ratio:1.00\r\n\
         rss_overhead_bytes:0\r\n\
         mem_fragmentation_ratio:{fragmentation:.2}\r\n\
         mem_fragmentation_bytes:{fragments}\r\n\
         mem_not_counted_for_evict:{}\r\n\
         mem_replication_backlog:{}\r\n\
         mem_total_replication_buffers:{journal}\r\n\
         mem_clients_slaves:{}\r\n\
         mem_clients_normal:{}\r\n\
         mem_overhead_db_hashtable_rehashing:0\r\n\
         mem_cluster_links:{}\r\n\
         mem_aof_buffer:{}\r\n\
         mem_allocator:{}\r\n\
         active_defrag_running:0\r\n\
         lazyfree_pending_objects:{}\r\n\
         lazyfreed_objects:{}\r\n",
        o.used - o.counted,
        o.backlog,
        o.replicas,
        o.clients,
        o.links,
        o.aof_buffer,
        if report.allocator.is_empty() {
            "libc"
        } else {
            report.allocator
        },
        parts.store.garbage(),
        parts.store.freed(),
        fragmentation = o.fragmentation(),
        fragments = o.fragmentation_bytes(),
        journal = o.journal,
    )
}
