//! What a service asks of the operating system, in order: `strace` around it, and its record read.
//!
//! Descriptors are followed from where they are opened, so that each call is known by the file it
//! is about. `strace` can also make a call fail, which is how a disk breaks here.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::TestApp;
use super::app::Builder;

/// One finished system call.
#[derive(Debug, Clone)]
pub struct Call {
    pub name: String,
    /// The arguments as strace shows them.
    pub args: String,
    /// What it returned; negative for an error.
    pub result: i64,
    /// The file that the first argument is open on, or that was opened.
    pub path: String,
    /// The line of the record where it began.
    pub began: usize,
    /// And where it ended; the same unless others came in between.
    pub ended: usize,
}

/// What is recorded: whatever opens, makes, writes, syncs, names, answers. A `?` lets strace pass
/// over what this architecture does not have.
const CALLS: &str = "trace=openat,close,accept4,?mkdir,mkdirat,write,pwrite64,pwritev,pwritev2,writev,sendto,fsync,fdatasync,\
                     ftruncate,?rename,?renameat,renameat2,?fork,?vfork,clone,clone3";

/// Makes sure that strace is there and allowed: a test that needs it fails without.
fn demand() {
    let run = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let works = run.is_ok_and(|status| status.success());
    assert!(works, "strace does not work here (Debian: apt-get install strace)");
}

/// A service whose system calls are recorded in `trace` beside its data folder.
pub fn recorded() -> Builder {
    wrapped(&format!("-o \"$data.trace\" -e '{CALLS}'"))
}

/// A service for which some calls fail: `call` is a strace injection such as
/// `fdatasync:error=EIO:when=1`, where they are about this file of the data folder, if one is given.
pub fn failing(call: &str, file: Option<&str>) -> Builder {
    let name = call.split(':').next().unwrap();
    let only = file.map(|file| format!("-P \"$data/{file}\"")).unwrap_or_default();
    wrapped(&format!("-o \"$data.trace\" {only} -e 'trace={name}' -e 'inject={call}'"))
}

/// The service is strace's parent (`-D`), so that killing it ends both. Its data folder is the last
/// word but for a configuration file's.
fn wrapped(options: &str) -> Builder {
    demand();
    let script = format!(
        "for word; do case $before in --data) data=$word;; esac; before=$word; done\n\
         exec strace -D -f -q -s 48 {options} \"$@\""
    );
    // The service lets nobody but a superuser read its memory, and so the names of its files; here, whoever runs the
    // tests is one in a namespace of their own.
    let superuser: &[&str] = match rustix::process::geteuid().is_root() {
        true => &[],
        false => &["unshare", "--user", "--map-root-user"],
    };
    let words = [superuser, &["sh", "-c", &script, "sh"]].concat();
    TestApp::builder().config("isolation = \"none\"").under(&words)
}

/// Every call recorded so far, in the order in which they ended.
pub fn calls(app: &TestApp) -> Vec<Call> {
    let record = std::fs::read_to_string(record(app)).unwrap();
    let mut reader = Reader::default();
    record.lines().enumerate().filter_map(|(number, line)| reader.line(number, line)).collect()
}

/// How long the record is, to tell what comes later from what was before.
pub fn length(app: &TestApp) -> usize {
    std::fs::read_to_string(record(app)).unwrap().lines().count()
}

fn record(app: &TestApp) -> PathBuf {
    app.home().join("data.trace")
}

/// Reads a record line by line.
#[derive(Default)]
struct Reader {
    /// Files by descriptor.
    open: HashMap<i64, String>,
    /// What has begun and not ended, by thread.
    unfinished: HashMap<String, (usize, String, String)>,
    /// Threads that are processes of their own, with descriptors of their own.
    foreign: Vec<String>,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) -> Option<Call> {
        let (thread, rest) = line.split_once(' ')?;
        let rest = rest.trim_start();
        if rest.starts_with("+++") || rest.starts_with("---") {
            return None;
        }
        if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            let path = self.begin(thread, begun);
            self.unfinished.insert(thread.to_owned(), (number, begun.to_owned(), path));
            return None;
        }
        let (began, text, path) = match rest.strip_prefix("<... ") {
            Some(resumed) => {
                let (_, end) = resumed.split_once(" resumed>")?;
                let (began, text, path) = self.unfinished.remove(thread)?;
                (began, text + end, path)
            }
            None => (number, rest.to_owned(), self.begin(thread, rest)),
        };
        self.end(thread, Call { path, ..call(&text, began, number)? })
    }

    /// The file that a call is about, as far as its beginning tells; a closed one is forgotten.
    fn begin(&mut self, thread: &str, text: &str) -> String {
        let args = text.split_once('(').map_or("", |(_, args)| args);
        let digits = args.find(|c: char| !c.is_ascii_digit()).unwrap_or(args.len());
        let Ok(descriptor) = args[..digits].parse::<i64>() else { return String::new() };
        let known = self.open.get(&descriptor).cloned().unwrap_or_default();
        if text.starts_with("close(") && !self.foreign.iter().any(|other| other == thread) {
            self.open.remove(&descriptor);
        }
        known
    }

    fn end(&mut self, thread: &str, mut call: Call) -> Option<Call> {
        if self.foreign.iter().any(|other| other == thread) {
            return None;
        }
        match call.name.as_str() {
            "openat" => {
                call.path = quoted(&call.args).next()?.to_owned();
                self.open.insert(call.result, call.path.clone());
            }
            "accept4" => {
                self.open.insert(call.result, "socket".to_owned());
            }
            "fork" | "vfork" | "clone" | "clone3" if !call.args.contains("CLONE_THREAD") => {
                self.foreign.push(call.result.to_string());
            }
            _ => {}
        }
        Some(call)
    }
}

impl Call {
    /// The arguments that are texts.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        quoted(&self.args)
    }

    /// Whether the call makes what was written to its file, or named in its folder, durable.
    pub fn syncs(&self) -> bool {
        matches!(self.name.as_str(), "fsync" | "fdatasync") && self.result == 0
    }

    pub fn writes(&self) -> bool {
        matches!(self.name.as_str(), "write" | "pwrite64" | "pwritev" | "pwritev2" | "writev" | "sendto")
            && self.result >= 0
    }

    /// Whether the call tells a client that all went well.
    pub fn answers_200(&self) -> bool {
        self.writes() && self.path == "socket" && self.args.contains("HTTP/1.1 200")
    }
}

fn call(text: &str, began: usize, ended: usize) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (args, result) = rest.rsplit_once(") ")?;
    let result = result.trim_start().strip_prefix("= ")?.split(' ').next()?.parse().ok()?;
    let (name, args) = (name.to_owned(), args.to_owned());
    Some(Call { name, args, result, path: String::new(), began, ended })
}

fn quoted(args: &str) -> impl Iterator<Item = &str> {
    args.split('"').skip(1).step_by(2)
}
