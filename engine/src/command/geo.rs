//! Commands on positions, which are scores of sorted sets: see [`crate::value::geohash`].

use alloc::format;
use alloc::vec::Vec;

use super::collection::{self, Reading, read};
use super::context::Data;
use super::error::CommandError;
use super::string::integer;
use super::table::Outcome;
use super::{zset, zset_limits};
use crate::config::NotifyEvents;
use crate::resp::{Output, shown};
use crate::value::geohash::{Area, Form, LATITUDE_MAX, LONGITUDE_MAX, Position};
use crate::value::geohash::{decode, distance, encode, text};
use crate::value::listpack::Entry;
use crate::value::number::{ItoaBuffer, parse_f64, write_i64};
use crate::value::zset::{ScoreRange, ZSet};

const NO_SUCH_MEMBER: CommandError =
    CommandError::fixed("ERR could not decode requested zset member");

/// Reads a longitude and a latitude.
fn position(args: &[&[u8]]) -> Result<Position, CommandError> {
    let number = |arg| parse_f64(arg).ok_or(CommandError::NOT_FLOAT);
    let (longitude, latitude) = (number(args[0])?, number(args[1])?);
    if libm::fabs(longitude) > LONGITUDE_MAX || libm::fabs(latitude) > LATITUDE_MAX {
        return Err(CommandError::text(format!(
            "ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"
        )));
    }
    Ok(Position {
        longitude,
        latitude,
    })
}

/// Metres to a unit.
fn unit(arg: &[u8]) -> Result<f64, CommandError> {
    match arg.to_ascii_lowercase().as_slice() {
        b"m" => Ok(1.0),
        b"km" => Ok(1000.0),
        b"ft" => Ok(0.3048),
        b"mi" => Ok(1609.34),
        _ => Err(CommandError::fixed(
            "ERR unsupported unit provided. please use M, KM, FT, MI",
        )),
    }
}

/// Reads a radius and its unit.
fn radius(args: &[&[u8]]) -> Result<(Form, f64), CommandError> {
    let radius = parse_f64(args[0]).ok_or(CommandError::fixed("ERR need numeric radius"))?;
    if radius < 0.0 {
        return Err(CommandError::fixed("ERR radius cannot be negative"));
    }
    Ok((Form::Circle { radius }, unit(args[1])?))
}

/// Reads width, height and their unit.
fn rectangle(args: &[&[u8]]) -> Result<(Form, f64), CommandError> {
    let width = parse_f64(args[0]).ok_or(CommandError::fixed("ERR need numeric width"))?;
    let height = parse_f64(args[1]).ok_or(CommandError::fixed("ERR need numeric height"))?;
    if width < 0.0 || height < 0.0 {
        return Err(CommandError::fixed(
            "ERR height or width cannot be negative",
        ));
    }
    Ok((Form::Box { width, height }, unit(args[2])?))
}

/// Replies a coordinate: up to 17 digits after the point.
fn reply_degrees(out: &mut Output, degrees: f64) {
    let text = format!("{degrees:.17}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    let text = if text == "-0" { "0" } else { text };
    if out.resp3 {
        out.raw(b",");
        out.raw(text.as_bytes());
        out.raw(b"\r\n");
    } else {
        out.bulk(text.as_bytes());
    }
}

fn reply_position(out: &mut Output, position: Position) {
    out.array(2);
    reply_degrees(out, position.longitude);
    reply_degrees(out, position.latitude);
}

/// Replies a distance, with four digits after the point.
fn reply_distance(out: &mut Output, distance: f64) {
    let scaled = libm::rint(distance * 10_000.0);
    // What does not fit becomes what the processor makes of it.
    let fits = scaled.abs() < 9.2e18;
    let scaled = if fits { scaled as i64 } else { i64::MIN };
    let mut text = Vec::with_capacity(24);
    if scaled < 0 {
        text.push(b'-');
    }
    let digits = scaled.unsigned_abs();
    write_i64(&mut text, (digits / 10_000) as i64);
    text.extend_from_slice(format!(".{:04}", digits % 10_000).as_bytes());
    out.bulk(&text);
}

/// `GEOADD key [NX|XX] [CH] longitude latitude member [longitude latitude member …]`.
/// <https://redis.io/commands/geoadd/>
pub(super) fn geoadd(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let is = |word: &[u8], name: &[u8]| word.eq_ignore_ascii_case(name);
    let options = args[2..]
        .iter()
        .take_while(|word| is(word, b"nx") || is(word, b"xx") || is(word, b"ch"))
        .count();
    let (options, members) = args[2..].split_at(options);
    let given = |name: &[u8]| options.iter().any(|word| is(word, name));
    if members.len() % 3 != 0 || (given(b"nx") && given(b"xx")) {
        return Err(CommandError::SYNTAX);
    }
    let mut scores = Vec::new();
    for triple in members.chunks_exact(3) {
        let score = encode(position(triple)?);
        scores.push((ItoaBuffer::new(score as i64), triple[2]));
    }
    let mut words: Vec<&[u8]> = alloc::vec![b"zadd", args[1]];
    words.extend_from_slice(options);
    for (score, member) in &scores {
        words.extend([&score[..], member]);
    }
    zset::zadd(d, &words)?;
    if d.effects.dirty > 0 {
        d.effects.instead(d.db, &words);
    }
    Ok(())
}

/// `GEOHASH key [member …]`. <https://redis.io/commands/geohash/>
pub(super) fn geohash(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Reading { value, out, .. } = read::<ZSet>(d, args[1])?;
    out.array(args.len() - 2);
    for member in &args[2..] {
        match value.and_then(|set| set.score(member)) {
            Some(score) => out.bulk(&text(decode(score))),
            None => out.null(),
        }
    }
    Ok(())
}

/// `GEOPOS key [member …]`. <https://redis.io/commands/geopos/>
pub(super) fn geopos(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let Reading { value, out, .. } = read::<ZSet>(d, args[1])?;
    out.array(args.len() - 2);
    for member in &args[2..] {
        match value.and_then(|set| set.score(member)) {
            Some(score) => reply_position(out, decode(score)),
            None => out.null_array(),
        }
    }
    Ok(())
}

/// `GEODIST key member1 member2 [M|KM|FT|MI]`. <https://redis.io/commands/geodist/>
pub(super) fn geodist(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let unit = match &args[4..] {
        [] => 1.0,
        [word] => unit(word)?,
        _ => return Err(CommandError::SYNTAX),
    };
    let Reading { value, out, .. } = read::<ZSet>(d, args[1])?;
    let place = |member| value.and_then(|set| set.score(member)).map(decode);
    match (place(args[2]), place(args[3])) {
        (Some(a), Some(b)) => reply_distance(out, distance(a, b) / unit),
        _ => out.null(),
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
}

/// Which of the commands that search it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    /// GEORADIUS, GEORADIUSBYMEMBER.
    Radius,
    /// The same with `_RO`.
    RadiusReadOnly,
    Search,
    SearchStore,
}

/// All that a search is told. `centre` is `None` as long as it is not known, which it stays if it is that of
/// a member of a set that is not there.
#[derive(Default)]
struct Search<'a> {
    centre: Option<Position>,
    from_member: bool,
    from_position: bool,
    form: Option<(Form, f64)>,
    by_radius: bool,
    by_box: bool,
    with_distance: bool,
    with_hash: bool,
    with_position: bool,
    /// The first few that are found will do.
    any: bool,
    order: Option<Order>,
    /// 0: all.
    count: usize,
    store: Option<&'a [u8]>,
    store_distances: bool,
}

impl<'a> Search<'a> {
    /// Reads the options.
    fn options(
        &mut self,
        args: &[&'a [u8]],
        command: Command,
        set: Option<&ZSet>,
    ) -> Result<(), CommandError> {
        let searches = matches!(command, Command::Search | Command::SearchStore);
        let mut rest = args;
        while let [word, tail @ ..] = rest {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            let used = if is(b"withdist") {
                self.with_distance = true;
                0
            } else if is(b"withhash") {
                self.with_hash = true;
                0
            } else if is(b"withcoord") {
                self.with_position = true;
                0
            } else if is(b"any") {
                self.any = true;
                0
            } else if is(b"asc") {
                self.order = Some(Order::Ascending);
                0
            } else if is(b"desc") {
                self.order = Some(Order::Descending);
                0
            } else if is(b"count") && !tail.is_empty() {
                let count = integer(tail[0])?;
                self.count = usize::try_from(count)
                    .ok()
                    .filter(|count| *count > 0)
                    .ok_or(CommandError::fixed("ERR COUNT must be > 0"))?;
                1
            } else if is(b"store") && !tail.is_empty() && command == Command::Radius {
                (self.store, self.store_distances) = (Some(tail[0]), false);
                1
            } else if is(b"storedist") && !tail.is_empty() && command == Command::Radius {
                (self.store, self.store_distances) = (Some(tail[0]), true);
                1
            } else if is(b"storedist") && command == Command::SearchStore {
                self.store_distances = true;
                0
            } else if is(b"frommember") && !tail.is_empty() && searches && !self.from_position {
                self.from_member = true;
                if let Some(set) = set {
                    let score = set.score(tail[0]).ok_or(NO_SUCH_MEMBER)?;
                    self.centre = Some(decode(score));
                }
                1
            } else if is(b"fromlonlat") && tail.len() >= 2 && searches && !self.from_member {
                self.from_position = true;
                self.centre = Some(position(tail)?);
                2
            } else if is(b"byradius") && tail.len() >= 2 && searches && !self.by_box {
                self.by_radius = true;
                self.form = Some(radius(tail)?);
                2
            } else if is(b"bybox") && tail.len() >= 3 && searches && !self.by_radius {
                self.by_box = true;
                self.form = Some(rectangle(tail)?);
                3
            } else {
                return Err(CommandError::SYNTAX);
            };
            rest = &tail[used..];
        }
        Ok(())
    }

    /// Refuses what is missing or contradicts itself; `name` is the command's as it was typed.
    fn check(&self, command: Command, name: &[u8]) -> Result<(), CommandError> {
        if self.store.is_some() && (self.with_distance || self.with_hash || self.with_position) {
            return Err(CommandError::fixed(if command == Command::SearchStore {
                "ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            } else {
                "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            }));
        }
        let searches = matches!(command, Command::Search | Command::SearchStore);
        if searches && !(self.from_member || self.from_position) {
            return Err(CommandError::showing(&[
                b"ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for ",
                shown(name),
            ]));
        }
        if searches && !(self.by_radius || self.by_box) {
            return Err(CommandError::showing(&[
                b"ERR exactly one of BYRADIUS and BYBOX can be specified for ",
                shown(name),
            ]));
        }
        if self.any && self.count == 0 {
            return Err(CommandError::fixed(
                "ERR the ANY argument requires COUNT argument",
            ));
        }
        Ok(())
    }

    /// What is found, in the order in which it is to be replied.
    fn run<'s>(&self, set: &'s ZSet) -> Vec<Point<'s>> {
        let mut points = Vec::new();
        let (Some(centre), Some((form, unit))) = (self.centre, self.form) else {
            return points;
        };
        let area = Area { centre, form, unit };
        let enough = if self.any { self.count } else { usize::MAX };
        for (min, max) in area.ranges() {
            if points.len() >= enough {
                break;
            }
            let range = ScoreRange {
                min,
                max,
                above_min: false,
                below_max: true,
            };
            for (member, score) in set.slice(set.score_ranks(&range), false) {
                let position = decode(score);
                if let Some(metres) = area.distance(position) {
                    points.push(Point {
                        member,
                        score,
                        position,
                        distance: metres,
                    });
                    if points.len() >= enough {
                        break;
                    }
                }
            }
        }
        // Some of all means: the nearest ones, unless any will do.
        let nearest = self.count > 0 && !self.any;
        match self.order.or(nearest.then_some(Order::Ascending)) {
            Some(Order::Ascending) => points.sort_by(|a, b| a.distance.total_cmp(&b.distance)),
            Some(Order::Descending) => points.sort_by(|a, b| b.distance.total_cmp(&a.distance)),
            None => {}
        }
        if self.count > 0 {
            points.truncate(self.count);
        }
        points.iter_mut().for_each(|point| point.distance /= unit);
        points
    }

    fn reply(&self, out: &mut Output, points: &[Point<'_>]) {
        let extras = usize::from(self.with_distance)
            + usize::from(self.with_hash)
            + usize::from(self.with_position);
        out.array(points.len());
        for point in points {
            if extras > 0 {
                out.array(extras + 1);
            }
            match point.member {
                Entry::Int(n) => out.bulk_int(n),
                Entry::Str(bytes) => out.bulk(bytes),
            }
            if self.with_distance {
                reply_distance(out, point.distance);
            }
            if self.with_hash {
                // Beyond 64 bits it is what the processor makes of it.
                let fits = (-9.3e18..9_223_372_036_854_775_808.0).contains(&point.score);
                let hash = point.score as i64;
                out.int(if fits { hash } else { i64::MIN });
            }
            if self.with_position {
                reply_position(out, point.position);
            }
        }
    }
}

/// A member that was found.
struct Point<'a> {
    member: Entry<'a>,
    score: f64,
    position: Position,
    /// From the centre, in the unit of the search.
    distance: f64,
}

/// How a search says where its centre is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Member,
    Options,
    Position,
}

fn search(d: &mut Data<'_>, args: &[&[u8]], command: Command, start: Start) -> Outcome {
    let mut s = Search::default();
    let source = if command == Command::SearchStore {
        s.store = Some(args[1]);
        2
    } else {
        1
    };
    let key = d.key(args[source]);
    let found = d.look(key);
    let limits = zset_limits(d.config, d.store);
    let Data {
        store: data,
        out,
        db,
        ..
    } = d;
    let set = match found {
        Some(place) => Some(collection::of::<ZSet>(data.entry(*db, place).value())?),
        None => None,
    };
    let options = match start {
        Start::Options => source + 1,
        Start::Position => {
            s.centre = Some(position(&args[2..])?);
            s.form = Some(radius(&args[4..])?);
            6
        }
        Start::Member => {
            if let Some(set) = set {
                let score = set.score(args[2]).ok_or(NO_SUCH_MEMBER)?;
                s.centre = Some(decode(score));
                s.form = Some(radius(&args[3..])?);
            }
            5
        }
    };
    s.options(&args[options..], command, set)?;
    s.check(command, args[0])?;
    let points = set.map_or_else(Vec::new, |set| s.run(set));
    let Some(destination) = s.store else {
        s.reply(out, &points);
        return Ok(());
    };
    let score_of = |p: &Point<'_>| {
        if s.store_distances {
            p.distance
        } else {
            p.score
        }
    };
    let members: Vec<_> = points
        .iter()
        .map(|p| (p.member.text(), score_of(p)))
        .collect();
    let result = ZSet::from_members(members, &limits);
    let event = match start {
        Start::Options => "geosearchstore",
        _ => "georadiusstore",
    };
    store(d, destination, result, event);
    Ok(())
}

/// Puts what was found at its destination, or deletes what is there if that is nothing.
fn store(d: &mut Data<'_>, key: &[u8], set: ZSet, event: &'static str) {
    let key = d.key(key);
    let len = set.len();
    if len > 0 {
        collection::put(d, key, set);
        d.changed(key.bytes);
        d.effects.dirty += len as u64 - 1;
        d.notify(NotifyEvents::ZSET, event, key.bytes);
    } else {
        d.clear_destination(key);
    }
    d.out.int(len as i64);
}

/// `GEORADIUS key longitude latitude radius M|KM|FT|MI [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]]
/// [ASC|DESC] [STORE key] [STOREDIST key]`. <https://redis.io/commands/georadius/>
pub(super) fn georadius(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    search(d, args, Command::Radius, Start::Position)
}

/// `GEORADIUS_RO`: GEORADIUS that cannot store. <https://redis.io/commands/georadius_ro/>
pub(super) fn georadius_ro(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    search(d, args, Command::RadiusReadOnly, Start::Position)
}

/// `GEORADIUSBYMEMBER key member radius M|KM|FT|MI …`: GEORADIUS around a member.
/// <https://redis.io/commands/georadiusbymember/>
pub(super) fn georadiusbymember(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    search(d, args, Command::Radius, Start::Member)
}

/// `GEORADIUSBYMEMBER_RO`: GEORADIUSBYMEMBER that cannot store.
/// <https://redis.io/commands/georadiusbymember_ro/>
pub(super) fn georadiusbymember_ro(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    search(d, args, Command::RadiusReadOnly, Start::Member)
}

/// `GEOSEARCH key FROMMEMBER member|FROMLONLAT longitude latitude BYRADIUS radius unit|BYBOX width height unit
/// [ASC|DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]`. <https://redis.io/commands/geosearch/>
pub(super) fn geosearch(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    search(d, args, Command::Search, Start::Options)
}

/// `GEOSEARCHSTORE destination source … [STOREDIST]`. <https://redis.io/commands/geosearchstore/>
pub(super) fn geosearchstore(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    search(d, args, Command::SearchStore, Start::Options)
}
