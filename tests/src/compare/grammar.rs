//! The grammar of all commands, learned from the oracle's COMMAND DOCS, and commands made from it.

use super::pool::{self, Draw};
use super::run::Pair;
use super::table;
use crate::resp::Value;

/// The commands that scripts are made of.
pub struct Grammar {
    rows: Vec<Row>,
    /// Commands that the oracle has and the subject has not, without those excused.
    pub absent: Vec<String>,
}

/// One command.
pub struct Row {
    /// `get`, `config|set`.
    pub name: String,
    group: String,
    arguments: Vec<Argument>,
}

struct Argument {
    name: String,
    kind: String,
    token: Option<Vec<u8>>,
    optional: bool,
    multiple: bool,
    multiple_token: bool,
    parts: Vec<Argument>,
}

impl Grammar {
    /// Asks the oracle for the grammar of what both servers can do; with `only`, just commands whose
    /// names begin so.
    ///
    /// # Panics
    /// When the answers are not what COMMAND DOCS answers, or nothing is left.
    pub fn learn(pair: &Pair, only: &[String]) -> Grammar {
        let mut oracle = pair.oracle();
        oracle.ok("HELLO 3");
        let mut rows = Vec::new();
        let Value::Map(docs) = oracle.ok("COMMAND DOCS") else {
            panic!("COMMAND DOCS is no map")
        };
        for (name, doc) in &docs {
            learn_row(&name.text(), doc, &mut rows);
        }
        rows.retain(|row| table::excuse(&row.name).is_none());
        rows.retain(|row| {
            only.is_empty() || only.iter().any(|prefix| row.name.starts_with(prefix))
        });
        rows.sort_by(|a, b| a.name.cmp(&b.name));

        let knows = |row: &Row| {
            let words: Vec<&str> = row.name.split('|').collect();
            let reply = pair.subject().cmd(&words).text();
            !["ERR unknown command", "ERR unknown subcommand"]
                .iter()
                .any(|no| reply.starts_with(no))
        };
        let (rows, absent): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(knows);
        assert!(!rows.is_empty(), "no commands to compare");
        Grammar {
            rows,
            absent: absent.into_iter().map(|row| row.name).collect(),
        }
    }

    /// A command.
    pub fn draw(&self, draw: &mut Draw) -> &Row {
        loop {
            let row = draw.pick(&self.rows);
            let rare = table::RARE.iter().any(|name| match name.strip_suffix('|') {
                Some(container) => row.name.starts_with(container),
                None => row.name == *name,
            });
            if !rare || draw.chance(5) || self.rows.len() == 1 {
                return row;
            }
        }
    }
}

impl Row {
    /// The command's words and arguments as its grammar has them.
    pub fn command(&self, draw: &mut Draw) -> Vec<Vec<u8>> {
        let mut out: Vec<Vec<u8>> = self
            .name
            .split('|')
            .map(|word| any_case(draw, word.as_bytes()))
            .collect();
        let mut writer = Writer {
            row: self,
            draw,
            out: &mut out,
            numkeys: None,
            keys: 0,
        };
        writer.sequence(&self.arguments);
        out
    }

    /// How many words the name has.
    pub fn words(&self) -> usize {
        self.name.split('|').count()
    }

    /// Whether the command may hold up its connection.
    pub fn blocks(&self) -> bool {
        let mut names = self.arguments.iter().map(|argument| argument.name.as_str());
        names.any(|name| name == "timeout") || self.name.starts_with("xread")
    }
}

struct Writer<'a> {
    row: &'a Row,
    draw: &'a mut Draw,
    out: &'a mut Vec<Vec<u8>>,
    /// Where the number of keys stands that are still to come.
    numkeys: Option<usize>,
    /// How many keys there were last.
    keys: usize,
}

impl Writer<'_> {
    fn sequence(&mut self, arguments: &[Argument]) {
        for argument in arguments {
            if argument.optional && !self.draw.chance(35) {
                continue;
            }
            let times = match argument.multiple {
                // An id for each key.
                true if self.row.name.starts_with("xread")
                    && argument.kind != "key"
                    && self.draw.chance(95) =>
                {
                    self.keys
                }
                true => *self.draw.pick(&[1, 1, 1, 2, 2, 3, 5]),
                false => 1,
            };
            if argument.kind == "key" {
                self.keys = times;
            }
            let start = self.out.len();
            for time in 0..times {
                if let Some(token) = argument
                    .token
                    .as_ref()
                    .filter(|_| time == 0 || argument.multiple_token)
                {
                    let token = any_case(self.draw, token);
                    self.out.push(token);
                }
                self.one(argument);
            }
            if argument.kind == "key"
                && argument.multiple
                && let Some(slot) = self.numkeys.take()
                && self.draw.chance(90)
            {
                self.out[slot] = (self.out.len() - start).to_string().into_bytes();
            }
        }
    }

    fn one(&mut self, argument: &Argument) {
        match argument.kind.as_str() {
            "pure-token" => {}
            "block" => self.sequence(&argument.parts),
            "oneof" => {
                let at = self.draw.below(argument.parts.len());
                if let Some(part) = argument.parts.get(at) {
                    self.chosen(part);
                }
            }
            kind => {
                let value = pool::value(
                    self.draw,
                    &self.row.name,
                    &self.row.group,
                    kind,
                    &argument.name,
                );
                if argument.name == "numkeys" {
                    self.numkeys = Some(self.out.len());
                }
                self.out.push(value);
            }
        }
    }

    /// An alternative: what was chosen is not left out again, even if it is optional.
    fn chosen(&mut self, argument: &Argument) {
        if let Some(token) = &argument.token {
            // `*` makes an id from the clock: the servers would part ways.
            let token = if token == b"*" {
                b"7-7".to_vec()
            } else {
                any_case(self.draw, token)
            };
            self.out.push(token);
        }
        self.one(argument);
    }
}

fn learn_row(name: &str, doc: &Value, rows: &mut Vec<Row>) {
    let arguments = field(doc, "arguments").map_or(Vec::new(), |list| {
        list.items().iter().map(learn_argument).collect()
    });
    let subcommands = field(doc, "subcommands");
    if subcommands.is_none() {
        let group = field(doc, "group")
            .map(|group| group.text())
            .unwrap_or_default();
        rows.push(Row {
            name: name.to_owned(),
            group,
            arguments,
        });
    }
    if let Some(Value::Map(subcommands)) = subcommands {
        for (name, doc) in &subcommands {
            learn_row(&name.text(), doc, rows);
        }
    }
    // COMMAND itself is a command as well as a container; table::EXCUSED leaves it out.
}

fn learn_argument(value: &Value) -> Argument {
    let text = |name: &str| {
        field(value, name)
            .map(|value| value.text())
            .unwrap_or_default()
    };
    let flags: Vec<String> = field(value, "flags").map_or(Vec::new(), |flags| {
        flags.items().iter().map(Value::text).collect()
    });
    let has = |flag: &str| flags.iter().any(|known| known == flag);
    Argument {
        name: text("name"),
        kind: text("type"),
        token: field(value, "token").map(|token| token.bytes().to_vec()),
        optional: has("optional"),
        multiple: has("multiple"),
        multiple_token: has("multiple_token"),
        parts: field(value, "arguments").map_or(Vec::new(), |list| {
            list.items().iter().map(learn_argument).collect()
        }),
    }
}

fn field(map: &Value, name: &str) -> Option<Value> {
    match map {
        Value::Map(entries) => entries
            .iter()
            .find(|(key, _)| key.text() == name)
            .map(|(_, value)| value.clone()),
        _ => None,
    }
}

fn any_case(draw: &mut Draw, word: &[u8]) -> Vec<u8> {
    match draw.below(8) {
        0 => word.to_ascii_lowercase(),
        1 => word
            .iter()
            .map(|b| {
                if draw.chance(50) {
                    b.to_ascii_lowercase()
                } else {
                    b.to_ascii_uppercase()
                }
            })
            .collect(),
        _ => word.to_ascii_uppercase(),
    }
}
