//! Function libraries: what is loaded, and the functions in it.
//!
//! The store keeps the libraries' code, since snapshots hold it; here is what it was compiled to.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;

use smallvec::SmallVec;

use super::context::Parts;
use super::error::CommandError;
use crate::face::LogLevel;
use crate::resp::split_words;
use crate::script::{Declared, Event, Job, Kind, Outcome, Vm};

/// Slices that loading a library may take.
const LOAD_SLICES: u32 = 500;

const BAD_NAME: &[u8] = b"Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";

/// A library.
#[derive(Debug)]
pub struct Library {
    /// All of its text.
    pub code: Vec<u8>,
    /// Its functions by name.
    pub functions: BTreeMap<Vec<u8>, Rc<Declared>>,
}

/// Libraries, and the functions of all of them.
#[derive(Debug, Default)]
pub struct Libraries {
    libraries: BTreeMap<Vec<u8>, Library>,
    /// All functions by their names in small letters: FCALL takes them in any case.
    by_name: BTreeMap<Box<[u8]>, Rc<Declared>>,
    /// The version of the store's libraries that these are.
    version: u64,
}

impl Libraries {
    /// All libraries by name.
    pub fn all(&self) -> &BTreeMap<Vec<u8>, Library> {
        &self.libraries
    }

    /// How many functions there are.
    pub fn functions(&self) -> usize {
        self.by_name.len()
    }

    /// Bytes of all code.
    pub fn code_bytes(&self) -> usize {
        self.libraries
            .values()
            .map(|library| library.code.len())
            .sum()
    }

    /// A function.
    pub fn function(&self, name: &[u8]) -> Option<&Rc<Declared>> {
        let mut small: SmallVec<[u8; 64]> = SmallVec::from_slice(name);
        small.make_ascii_lowercase();
        self.by_name.get(&small[..])
    }

    fn link(&mut self, name: Vec<u8>, library: Library) {
        for (name, function) in &library.functions {
            let name = name.to_ascii_lowercase().into();
            self.by_name.insert(name, Rc::clone(function));
        }
        self.libraries.insert(name, library);
    }

    fn unlink(&mut self, name: &[u8]) -> Option<Library> {
        let library = self.libraries.remove(name)?;
        for function in library.functions.keys() {
            self.by_name.remove(&function.to_ascii_lowercase()[..]);
        }
        Some(library)
    }

    /// Loads a library; returns its name, and the one that it replaced.
    fn load(
        &mut self,
        vm: &mut Vm,
        code: &[u8],
        replace: bool,
    ) -> Result<(Vec<u8>, Option<Library>), Vec<u8>> {
        let (name, start) = metadata(code)?;
        if self.libraries.contains_key(&name) && !replace {
            return Err([b"Library '", &name[..], b"' already exists"].concat());
        }
        let old = self.unlink(&name);
        match self.compile(vm, &code[start..]) {
            Ok(functions) => {
                let code = code.to_vec();
                self.link(name.clone(), Library { code, functions });
                Ok((name, old))
            }
            Err(why) => {
                if let Some(old) = old {
                    self.link(name, old);
                }
                Err(why)
            }
        }
    }

    fn compile(
        &self,
        vm: &mut Vm,
        code: &[u8],
    ) -> Result<BTreeMap<Vec<u8>, Rc<Declared>>, Vec<u8>> {
        let declared = run(vm, code)?;
        if declared.is_empty() {
            return Err(b"No functions registered".to_vec());
        }
        let taken = (declared.iter()).find(|f| self.function(&f.name).is_some());
        if let Some(taken) = taken {
            let why = [b"Function ", &taken.name[..], b" already exists"].concat();
            forget(vm, declared.iter().map(|f| f.function).collect());
            return Err(why);
        }
        let functions = declared.into_iter();
        Ok(functions.map(|f| (f.name.clone(), Rc::new(f))).collect())
    }

    /// Takes over other libraries; those of the same name are replaced, or in the way.
    fn join(&mut self, other: Libraries, replace: bool) -> Result<Vec<Library>, Vec<u8>> {
        let mut replaced = Vec::new();
        let mut failed = None;
        for name in other.libraries.keys() {
            if !self.libraries.contains_key(name) {
                continue;
            }
            if !replace {
                failed = Some([b"Library ", &name[..], b" already exists"].concat());
                break;
            }
            if let Some(old) = self.unlink(name) {
                replaced.push((name.clone(), old));
            }
        }
        let taken = (other.by_name.keys()).find(|name| self.by_name.contains_key(*name));
        if let Some(taken) = taken {
            failed = failed.or(Some(
                [b"Function ", &taken[..], b" already exists"].concat(),
            ));
        }
        if let Some(why) = failed {
            for (name, library) in replaced {
                self.link(name, library);
            }
            return Err(why);
        }
        for (name, library) in other.libraries {
            self.link(name, library);
        }
        Ok(replaced.into_iter().map(|(_, library)| library).collect())
    }
}

/// The name in a library's first line.
///
/// # Errors
/// There is none, or it cannot be one.
pub fn name(code: &[u8]) -> Result<Vec<u8>, Vec<u8>> {
    metadata(code).map(|(name, _)| name)
}

/// The name in a library's first line, and where its code begins.
fn metadata(code: &[u8]) -> Result<(Vec<u8>, usize), Vec<u8>> {
    if !code.starts_with(b"#!") {
        return Err(b"Missing library metadata".to_vec());
    }
    let invalid = || b"Invalid library metadata".to_vec();
    let end = memchr::memchr(b'\n', code).ok_or_else(invalid)?;
    let words = split_words(&code[..end])
        .filter(|words| !words.is_empty())
        .ok_or_else(invalid)?;
    let mut name = None;
    for word in &words[1..] {
        let value = word
            .split_at_checked(5)
            .filter(|(key, _)| key.eq_ignore_ascii_case(b"name="));
        match value {
            Some(_) if name.is_some() => {
                return Err(
                    b"Invalid metadata value, name argument was given multiple times".to_vec(),
                );
            }
            Some((_, value)) => name = Some(value.to_vec()),
            None => return Err([b"Invalid metadata value given: ", &word[..]].concat()),
        }
    }
    let name = name.ok_or(&b"Library name was not given"[..])?;
    if name.is_empty() || !name.iter().all(|&c| c.is_ascii_alphanumeric() || c == b'_') {
        return Err(BAD_NAME.to_vec());
    }
    let engine = &words[0][2..];
    if !engine.eq_ignore_ascii_case(b"lua") {
        return Err([b"Engine '", engine, b"' not found"].concat());
    }
    Ok((name, end))
}

/// Runs a library's code, which declares its functions.
fn run(vm: &mut Vm, code: &[u8]) -> Result<Vec<Declared>, Vec<u8>> {
    let mut event = vm.start(Job::Load(code.to_vec()));
    let mut slices = 0;
    loop {
        match event {
            Event::Outcome(Outcome::Loaded(loaded)) => return loaded,
            Event::Outcome(_) => return Err(b"Error registering functions".to_vec()),
            Event::Slice => {
                slices += 1;
                if slices > LOAD_SLICES {
                    vm.io.ended.set(Some("FUNCTION LOAD timeout"));
                }
            }
            Event::Command | Event::MayRun | Event::Stopped => {}
        }
        event = vm.go_on();
    }
}

fn forget(vm: &mut Vm, functions: Vec<u32>) {
    let _ = vm.start(Job::Forget(functions));
}

fn forget_library(vm: &mut Vm, library: &Library) {
    forget(vm, library.functions.values().map(|f| f.function).collect());
}

fn failed(why: Vec<u8>) -> CommandError {
    CommandError::showing(&[b"ERR ", &why])
}

/// Has what is compiled be what the store holds: after files were read, or a primary's snapshot.
pub fn refresh(parts: &mut Parts) {
    let version = parts.store.functions_version();
    if parts.scripts.libraries.version == version {
        return;
    }
    parts.scripts.drop_vm(Kind::Functions);
    let mut libraries = Libraries {
        version,
        ..Libraries::default()
    };
    let codes: Vec<Vec<u8>> = parts.store.functions().map(<[u8]>::to_vec).collect();
    let mut broken = Vec::new();
    if !codes.is_empty()
        && let Ok(vm) = parts.scripts.vm(Kind::Functions)
    {
        for code in &codes {
            if let Err(why) = libraries.load(vm, code, true) {
                broken.push(why);
            }
        }
    }
    parts.scripts.libraries = libraries;
    for why in broken {
        let why = alloc::string::String::from_utf8_lossy(&why).into_owned();
        let line = alloc::format!("A function library cannot be used: {why}");
        parts.log(LogLevel::Warning, line);
    }
}

/// The libraries, to be changed, and the interpreter for them.
fn edit<R>(
    parts: &mut Parts,
    change: impl FnOnce(&mut Libraries, &mut Vm) -> Result<R, Vec<u8>>,
) -> Result<R, CommandError> {
    refresh(parts);
    let mut libraries = core::mem::take(&mut parts.scripts.libraries);
    let outcome = match parts.scripts.vm(Kind::Functions) {
        Ok(vm) => change(&mut libraries, vm).map_err(failed),
        Err(error) => Err(error),
    };
    parts.scripts.libraries = libraries;
    outcome
}

/// FUNCTION LOAD: the library's name.
///
/// # Errors
/// Why it cannot be loaded.
pub fn load(parts: &mut Parts, code: &[u8], replace: bool) -> Result<Vec<u8>, CommandError> {
    let (name, old) = edit(parts, |libraries, vm| {
        let (name, old) = libraries.load(vm, code, replace)?;
        old.iter().for_each(|old| forget_library(vm, old));
        Ok((name, old))
    })?;
    if let Some(old) = old {
        parts.store.drop_function(&old.code);
    }
    parts.store.keep_function(code.to_vec());
    parts.scripts.libraries.version = parts.store.functions_version();
    Ok(name)
}

/// FUNCTION DELETE.
///
/// # Errors
/// There is no such library.
pub fn delete(parts: &mut Parts, name: &[u8]) -> Result<(), CommandError> {
    let library = edit(parts, |libraries, vm| {
        let library = libraries.unlink(name).ok_or(&b"Library not found"[..])?;
        forget_library(vm, &library);
        Ok(library)
    })?;
    parts.store.drop_function(&library.code);
    parts.scripts.libraries.version = parts.store.functions_version();
    Ok(())
}

/// FUNCTION FLUSH.
pub fn flush(parts: &mut Parts) {
    let codes: Vec<Vec<u8>> = parts.store.functions().map(<[u8]>::to_vec).collect();
    for code in codes {
        parts.store.drop_function(&code);
    }
    refresh(parts);
}

/// What becomes of libraries that are there, at FUNCTION RESTORE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// They stay, and are in the way of others of the same name.
    Append,
    /// They go.
    Flush,
    /// They stay, but for those of the same name.
    Replace,
}

/// FUNCTION RESTORE.
///
/// # Errors
/// Why it was left undone.
pub fn restore(parts: &mut Parts, codes: &[Vec<u8>], policy: Policy) -> Result<(), CommandError> {
    edit(parts, |libraries, vm| {
        let mut fresh = Libraries::default();
        let drop_fresh = |vm: &mut Vm, fresh: &Libraries| {
            fresh
                .libraries
                .values()
                .for_each(|library| forget_library(vm, library));
        };
        for code in codes {
            if let Err(why) = fresh.load(vm, code, false) {
                drop_fresh(vm, &fresh);
                return Err(why);
            }
        }
        if policy == Policy::Flush {
            drop_fresh(vm, libraries);
            *libraries = fresh;
            return Ok(());
        }
        let numbers: Vec<u32> = (fresh.libraries.values())
            .flat_map(|library| library.functions.values().map(|f| f.function))
            .collect();
        match libraries.join(fresh, policy == Policy::Replace) {
            Ok(replaced) => replaced.iter().for_each(|old| forget_library(vm, old)),
            Err(why) => {
                forget(vm, numbers);
                return Err(why);
            }
        }
        Ok(())
    })?;
    // The store holds what is there now.
    let old: Vec<Vec<u8>> = parts.store.functions().map(<[u8]>::to_vec).collect();
    old.iter().for_each(|code| parts.store.drop_function(code));
    let now: Vec<Vec<u8>> = (parts.scripts.libraries.libraries.values())
        .map(|library| library.code.clone())
        .collect();
    now.into_iter()
        .for_each(|code| parts.store.keep_function(code));
    parts.scripts.libraries.version = parts.store.functions_version();
    Ok(())
}
