//! One interpreter, as a process: it is given jobs, and says what it needs meanwhile.
//!
//! The whole life of the Lua state is inside one coroutine with a C stack of its own; wherever Lua is (in a
//! `pcall`, in a metamethod, in a sort's comparison), it can be left and gone on with. The state is never
//! touched from outside, and what is exchanged lies in [`Io`].

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use mlua::{ChunkMode, Function, HookTriggers, Lua, LuaOptions, StdLib, Table, Value, VmState};

use super::debug::Debugger;
use super::random::Lrand48;
use super::words::Words;
use super::{MEMORY_LIMIT, SLICE, api, convert, sandbox};
use crate::face::LogLevel;

/// Bytes of the coroutine's stack: Lua nests C calls 200 deep, each with buffers of 8 KiB at most.
const STACK: usize = 4 << 20;

/// What an interpreter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// EVAL's scripts.
    Eval,
    /// Libraries of functions.
    Functions,
}

/// What an interpreter is to do.
#[derive(Debug)]
pub enum Job {
    /// Make a script's code a function → [`Outcome::Compiled`].
    Compile(Vec<u8>),
    /// Run the code of a library → [`Outcome::Loaded`].
    Load(Vec<u8>),
    /// Call a function with the words in [`Io::words`], of which so many are keys → [`Outcome::Done`].
    Run {
        /// Its number.
        function: u32,
        /// How many of the words are keys.
        keys: usize,
        /// The client speaks RESP3.
        resp3: bool,
    },
    /// Forget functions → [`Outcome::Ready`].
    Forget(Vec<u32>),
    /// End.
    Exit,
}

/// A function that a library declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: Vec<u8>,
    /// Its description.
    pub description: Option<Vec<u8>>,
    /// See [`super::flag`].
    pub flags: u32,
    /// Its number in the interpreter.
    pub function: u32,
}

/// What came of a job.
#[derive(Debug)]
pub enum Outcome {
    /// Waits for a job.
    Ready,
    /// The function's number, or why it is none.
    Compiled(Result<u32, Vec<u8>>),
    /// The library's functions, or why there are none.
    Loaded(Result<Vec<Declared>, Vec<u8>>),
    /// The reply is in [`Io::reply`]; or the error is, with its code.
    Done(Finished),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// With a reply, in RESP.
    Reply,
    /// With an error.
    Error {
        /// It is in the statistics already.
        counted: bool,
        /// Where it happened is to follow: source and line are in the text already.
        located: bool,
    },
}

/// What an interpreter wants.
#[derive(Debug)]
pub enum Event {
    /// Nothing more: the job is done.
    Outcome(Outcome),
    /// The command in [`Io::words`] is to be carried out, and its reply left in [`Io::reply`].
    Command,
    /// Whether the user may run the command in [`Io::words`]: an integer reply, or an error.
    MayRun,
    /// It has carried out a slice of instructions, and would go on.
    Slice,
    /// It stands still, and has lines to show ([`Io::debugger`]): the debugger's next command is to be in
    /// [`Io::words`].
    Stopped,
}

/// How an interpreter goes on.
#[derive(Debug)]
pub(super) enum Resume {
    Job(Job),
    Continue,
}

/// What is exchanged with an interpreter.
#[derive(Debug)]
pub struct Io {
    /// Words of a command, or a run's keys and arguments.
    pub words: RefCell<Words>,
    /// A reply in RESP, or an error without its mark.
    pub reply: RefCell<Vec<u8>>,
    /// Errors within the reply of a run that are not in the statistics yet, or their beginnings.
    pub errors: RefCell<Words>,
    /// Replies to the script are in RESP3.
    pub resp3: Cell<bool>,
    /// What of the script's writes is journalled: 1 the file, 2 the replicas.
    pub replicate: Cell<u8>,
    /// Why it is to end as soon as it can, if it is.
    pub ended: Cell<Option<&'static str>>,
    /// Lines for the log.
    pub log: RefCell<Vec<(LogLevel, Vec<u8>)>>,
    /// Lines below this are not for the log.
    pub verbosity: Cell<LogLevel>,
    /// Bytes that the state holds.
    pub memory: Cell<usize>,
    /// The session, if scripts are debugged.
    pub debugger: RefCell<Option<Debugger>>,
    /// A script runs (and not, say, a library's code).
    pub(super) running: Cell<bool>,
    pub(super) random: Cell<Lrand48>,
    /// Functions that the library under way declared.
    pub(super) declared: RefCell<Option<Vec<(Declared, Function)>>>,
}

/// An interpreter. See the module's documentation.
pub struct Vm {
    process: Coroutine<Resume, Event, (), DefaultStack>,
    /// What is exchanged with it.
    pub io: Rc<Io>,
}

impl core::fmt::Debug for Vm {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Vm")
            .field("io", &self.io)
            .finish_non_exhaustive()
    }
}

impl Vm {
    /// A fresh interpreter.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new(kind: Kind) -> Result<Vm, String> {
        Vm::with(kind, None, STACK)
    }

    /// One for a script of EVAL that is debugged.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn debugging(debugger: Debugger) -> Result<Vm, String> {
        // Code that is typed in nests as deep again.
        Vm::with(Kind::Eval, Some(debugger), 2 * STACK)
    }

    fn with(kind: Kind, debugger: Option<Debugger>, stack: usize) -> Result<Vm, String> {
        let stack = DefaultStack::new(stack).map_err(|e| alloc::format!("{e}"))?;
        let io = Rc::new(Io {
            words: RefCell::default(),
            reply: RefCell::default(),
            errors: RefCell::default(),
            resp3: Cell::new(false),
            replicate: Cell::new(3),
            ended: Cell::new(None),
            log: RefCell::default(),
            verbosity: Cell::new(LogLevel::Notice),
            memory: Cell::new(0),
            debugger: RefCell::new(debugger),
            running: Cell::new(false),
            random: Cell::new(Lrand48::default()),
            declared: RefCell::default(),
        });
        let shared = Rc::clone(&io);
        let process = Coroutine::with_stack(stack, move |yielder, first| {
            live(kind, &shared, yielder, first);
        });
        Ok(Vm { process, io })
    }

    /// Gives it a job; the last one must be done.
    pub fn start(&mut self, job: Job) -> Event {
        self.resume(Resume::Job(job))
    }

    /// Lets it go on after any event but [`Event::Outcome`].
    pub fn go_on(&mut self) -> Event {
        self.resume(Resume::Continue)
    }

    fn resume(&mut self, resume: Resume) -> Event {
        match self.process.resume(resume) {
            CoroutineResult::Yield(event) => event,
            CoroutineResult::Return(()) => Event::Outcome(Outcome::Ready),
        }
    }
}

impl Drop for Vm {
    /// Brings the process to its end: a stack with somebody on it cannot be freed.
    fn drop(&mut self) {
        self.io.ended.set(Some(KILLED));
        while !self.process.done() {
            let _ = self.process.resume(Resume::Job(Job::Exit));
        }
    }
}

/// What runs inside the coroutine.
pub(super) struct Process<'a> {
    pub io: &'a Io,
    pub yielder: &'a Yielder<Resume, Event>,
}

impl Process<'_> {
    /// Asks the driver for something, and waits for it.
    ///
    /// # Errors
    /// Why the script is to end.
    pub fn wait(&self, event: Event) -> Result<(), &'static str> {
        let end = || self.io.ended.get().map_or(Ok(()), Err);
        end()?;
        self.yielder.suspend(event);
        end()
    }
}

impl Process<'_> {
    /// An error is given to the script: who debugs it line by line sees it.
    pub fn show_error(&self, text: &[u8]) {
        let mut debugger = self.io.debugger.borrow_mut();
        if let Some(debugger) = debugger.as_mut().filter(|debugger| debugger.shows()) {
            debugger.show_error(text);
        }
    }
}

/// Why a script ends that somebody wanted to end.
pub const KILLED: &str = "Script killed by user with SCRIPT KILL...";

/// Why one ends whose debugger is gone.
pub const TIMEOUT: &str = "timeout during Lua debugging with client closing connection";

/// The process: jobs, one after the other.
fn live(kind: Kind, io: &Rc<Io>, yielder: &Yielder<Resume, Event>, first: Resume) {
    let process = Process { io, yielder };
    let next = Cell::new(Some(first));
    let failed = match state(Rc::clone(io)) {
        Ok(lua) => lua
            .scope(|scope| {
                let functions = lua.create_table()?;
                let sandbox = api::install(kind, &lua, scope, &process, &functions)?;
                let mut interpreter = Interpreter {
                    lua: &lua,
                    sandbox,
                    functions,
                    numbers: 0,
                    pace: 0,
                };
                lua.set_memory_limit(MEMORY_LIMIT)?;
                loop {
                    let outcome = match next.take() {
                        Some(Resume::Job(Job::Exit)) => return Ok(()),
                        Some(Resume::Job(job)) => interpreter.carry_out(io, job),
                        Some(Resume::Continue) | None => Outcome::Ready,
                    };
                    io.memory.set(lua.used_memory());
                    next.set(Some(yielder.suspend(Event::Outcome(outcome))));
                }
            })
            .err(),
        Err(error) => Some(error),
    };
    let Some(failed) = failed else { return };
    // Without a state every job fails in the same way.
    let text = alloc::format!("{failed}").into_bytes();
    loop {
        let outcome = match next.take() {
            Some(Resume::Job(Job::Exit)) => return,
            Some(Resume::Job(Job::Compile(_))) => Outcome::Compiled(Err(text.clone())),
            Some(Resume::Job(Job::Load(_))) => Outcome::Loaded(Err(text.clone())),
            _ => Outcome::Ready,
        };
        next.set(Some(yielder.suspend(Event::Outcome(outcome))));
    }
}

/// A bare Lua with the libraries that Redis has, and its hook.
fn state(io: Rc<Io>) -> mlua::Result<Lua> {
    let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH;
    let lua = Lua::new_with(libraries, LuaOptions::default())?;
    if io.debugger.borrow().is_some() {
        // The debugger has a hook of its own.
        return Ok(lua);
    }
    let triggers = HookTriggers::new().every_nth_instruction(SLICE);
    lua.set_global_hook(triggers, move |lua, _| {
        let slice = lua.named_registry_value::<Function>(api::SLICE_FUNCTION);
        // Where C calls are nested so deep that there is no room for this one, the script is at its end: it
        // could stay there for ever.
        let ended = slice.and_then(|slice| slice.call::<()>(()));
        ended.inspect_err(|_| {
            if io.ended.get().is_none() {
                io.ended.set(Some("C stack overflow"));
            }
        })?;
        Ok(VmState::Continue)
    })?;
    Ok(lua)
}

/// The state and what it has compiled.
struct Interpreter<'a> {
    lua: &'a Lua,
    sandbox: sandbox::Sandbox,
    /// Functions by number. Handles of Rust's have to be few, since they lie on a stack of Lua's.
    functions: Table,
    /// Numbers given.
    numbers: u32,
    /// See [`Interpreter::pace`].
    pace: i32,
}

impl Interpreter<'_> {
    fn carry_out(&mut self, io: &Io, job: Job) -> Outcome {
        match job {
            Job::Compile(code) => Outcome::Compiled(
                self.compile(&code, "@user_script")
                    .and_then(|f| self.keep(f)),
            ),
            Job::Load(code) => Outcome::Loaded(self.load(io, &code)),
            Job::Run {
                function,
                keys,
                resp3,
            } => Outcome::Done(self.run(io, function, keys, resp3)),
            Job::Forget(functions) => {
                for number in functions {
                    let _ = self.functions.raw_set(number, Value::Nil);
                }
                Outcome::Ready
            }
            Job::Exit => Outcome::Ready,
        }
    }

    fn keep(&mut self, function: Function) -> Result<u32, Vec<u8>> {
        self.numbers += 1;
        let kept = self.functions.raw_set(self.numbers, function);
        kept.map_err(|error| alloc::format!("{error}").into_bytes())?;
        Ok(self.numbers)
    }

    fn compile(&self, code: &[u8], name: &str) -> Result<Function, Vec<u8>> {
        // While Lua compiles it holds on to the name too late (CVE-2025-49844): so the name is kept here.
        let _kept = self.lua.create_string(name).ok();
        let chunk = self.lua.load(code).set_name(name).set_mode(ChunkMode::Text);
        chunk.into_function().map_err(|error| match error {
            mlua::Error::SyntaxError { message, .. } => message.into_bytes(),
            other => alloc::format!("{other}").into_bytes(),
        })
    }

    /// Runs the code of a library; what it declares is kept if all went well.
    fn load(&mut self, io: &Io, code: &[u8]) -> Result<Vec<Declared>, Vec<u8>> {
        io.ended.set(None);
        let body = self
            .compile(code, "@user_function")
            .map_err(|why| [b"Error compiling function: ", &why[..]].concat())?;
        *io.declared.borrow_mut() = Some(Vec::new());
        let ended = self.sandbox.load(&body);
        let declared = io.declared.borrow_mut().take().unwrap_or_default();
        let failed = match ended {
            Ok((true, _)) => None,
            Ok((false, error)) => Some(convert::failure(&error)),
            Err(error) => Some(alloc::format!("ERR {error}").into_bytes()),
        };
        if let Some(why) = failed {
            return Err([b"Error registering functions: ", &why[..]].concat());
        }
        let number = |(mut declared, function): (Declared, Function)| {
            declared.function = self.keep(function)?;
            Ok(declared)
        };
        declared.into_iter().map(number).collect()
    }

    fn run(&mut self, io: &Io, function: u32, keys: usize, resp3: bool) -> Finished {
        io.ended.set(None);
        io.resp3.set(false);
        io.replicate.set(3);
        io.running.set(true);
        let finished = self.sandbox.runner.run(io, function, keys, resp3);
        io.running.set(false);
        self.pace();
        finished
    }

    /// Garbage is collected as it comes, a little with each allocation: a round begins when there is so many times as
    /// much as the last one left. A state that is small may grow for longer, since each round looks at all of it.
    fn pace(&mut self) {
        const SMALL: usize = 1 << 20;
        let used = self.lua.used_memory();
        let percent = if used < SMALL { 1000 } else { 200 };
        if percent != self.pace {
            self.pace = percent;
            self.lua.gc_set_pause(percent);
        }
        if used > MEMORY_LIMIT / 8 {
            let _ = self.lua.gc_collect();
        }
    }
}
