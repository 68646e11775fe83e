//! Directives whose value is one of a few words.

use super::setting::{Origin, Reason, Rule, Setting, single};
use alloc::string::String;
use alloc::vec::Vec;

/// The words of an enumeration, in the order in which error texts list them. Several words may name
/// one value; the first is shown.
macro_rules! choices {
    ($($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal $(| $also:literal)*,)* } )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $( $(#[$doc])* #[doc = concat!("`", $word, "`")] $variant, )*
        }

        impl $name {
            const WORDS: &'static [(&'static str, $name)] =
                &[$( ($word, $name::$variant), $( ($also, $name::$variant), )* )*];

            /// The value's word.
            pub fn word(self) -> &'static str {
                match self { $( $name::$variant => $word, )* }
            }
        }

        impl Setting for $name {
            fn set(&mut self, args: &[&[u8]], _: &Rule, _: Origin) -> Result<(), Reason> {
                let text = single(args)?;
                let found = Self::WORDS.iter().find(|(word, _)| word.as_bytes().eq_ignore_ascii_case(text));
                *self = found.ok_or_else(|| must_be_one_of(Self::WORDS.iter().map(|(word, _)| *word)))?.1;
                Ok(())
            }

            fn value(&self, _: &Rule) -> Vec<u8> {
                self.word().as_bytes().to_vec()
            }
        }
    )*};
}

pub(super) fn must_be_one_of(words: impl Iterator<Item = &'static str>) -> Reason {
    let mut text = String::from("argument(s) must be one of the following: ");
    for (i, word) in words.enumerate() {
        if i > 0 {
            text.push_str(", ");
        }
        text.push_str(word);
    }
    text.into()
}

choices! {
    /// Which channels a new user may use.
    AclPubsubDefault { AllChannels = "allchannels", ResetChannels = "resetchannels", }

    /// When the append-only file is made durable.
    AppendFsync {
        /// About once a second.
        EverySec = "everysec",
        /// Before the reply leaves.
        Always = "always",
        /// When the system likes.
        No = "no",
    }

    /// What a node tells clients to connect to.
    ClusterPreferredEndpointType { Ip = "ip", Hostname = "hostname", UnknownEndpoint = "unknown-endpoint", }

    /// How much is logged.
    LogLevel { Debug = "debug", Verbose = "verbose", Notice = "notice", Warning = "warning", }

    /// What goes when memory is short.
    MaxmemoryPolicy {
        VolatileLru = "volatile-lru",
        VolatileLfu = "volatile-lfu",
        VolatileRandom = "volatile-random",
        VolatileTtl = "volatile-ttl",
        AllkeysLru = "allkeys-lru",
        AllkeysLfu = "allkeys-lfu",
        AllkeysRandom = "allkeys-random",
        NoEviction = "noeviction",
    }

    /// Whether the kernel's out-of-memory score is adjusted, and from what base.
    OomScoreAdj { No = "no", Relative = "yes" | "relative", Absolute = "absolute", }

    /// What happens when a command from the primary or the append-only file fails.
    PropagationErrorBehavior { Ignore = "ignore", Panic = "panic", PanicOnReplicas = "panic-on-replicas", }

    /// Who may use a guarded command or directive.
    ProtectedAction {
        No = "no",
        Yes = "yes",
        /// Only connections from this machine.
        Local = "local",
    }

    /// Whether a replica loads a snapshot straight from its socket.
    ReplDisklessLoad { Disabled = "disabled", OnEmptyDb = "on-empty-db", SwapDb = "swapdb", }

    /// Whether the insides of RESTORE payloads and snapshots are checked.
    SanitizeDumpPayload { No = "no", Yes = "yes", Clients = "clients", }

    /// Which supervisor is told that the server is ready.
    Supervised { Upstart = "upstart", Systemd = "systemd", Auto = "auto", No = "no", }

    /// The facility of messages to syslog.
    SyslogFacility {
        User = "user",
        Local0 = "local0",
        Local1 = "local1",
        Local2 = "local2",
        Local3 = "local3",
        Local4 = "local4",
        Local5 = "local5",
        Local6 = "local6",
        Local7 = "local7",
    }

    /// Whether TLS clients must show a certificate.
    TlsAuthClients { No = "no", Yes = "yes", Optional = "optional", }
}
