//! The processes below this one: finding and signalling them.
//!
//! Descendants are read from `/proc`, so a process group, a session (`setsid`) or a double fork does not hide one. A
//! signal goes through a descriptor of the process (`pidfd_open(2)`) whose start time was compared, so a process that
//! took over the number of one that ended is never hit. A single pass can miss a process that was just born: whoever
//! wants all of them gone repeats until `wait` says that no child is left.

use std::collections::HashMap;
use std::fs;
use std::io;

use rustix::process::{Pid, PidfdFlags, Signal};

/// A process below the one that was asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descendant {
    pid: Pid,
    /// Start time in clock ticks since the machine started.
    started: u64,
    /// 1 for a child, 2 for a grandchild, and so on.
    pub(crate) generation: u32,
}

impl Descendant {
    /// Sends a signal, unless the process is gone.
    pub(crate) fn signal(self, signal: Signal) {
        let Ok(process) = rustix::process::pidfd_open(self.pid, PidfdFlags::empty()) else { return };
        // The descriptor was opened first, so a start time that is still the same belongs to it.
        if Stat::read(self.pid.as_raw_nonzero().get()).is_some_and(|stat| stat.started == self.started) {
            // It can end at any moment, which is what a caller wants anyway.
            let _ = rustix::process::pidfd_send_signal(process, signal);
        }
    }
}

/// All living processes below `ancestor`; those that ended and wait to be reaped are not among them.
pub(crate) fn descendants(ancestor: Pid) -> io::Result<Vec<Descendant>> {
    let mut children: HashMap<i32, Vec<Stat>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(stat) = Stat::read(pid) {
            children.entry(stat.parent).or_default().push(stat);
        }
    }
    let mut found = Vec::new();
    let mut generation = vec![ancestor.as_raw_nonzero().get()];
    let mut number = 0;
    while !generation.is_empty() {
        number += 1;
        // Each list is taken out, so that numbers that were used again while reading cannot make a circle.
        let next: Vec<Stat> = generation.iter().filter_map(|pid| children.remove(pid)).flatten().collect();
        for stat in next.iter().filter(|stat| !stat.ended) {
            if let Some(pid) = Pid::from_raw(stat.pid) {
                found.push(Descendant { pid, started: stat.started, generation: number });
            }
        }
        generation = next.iter().map(|stat| stat.pid).collect();
    }
    Ok(found)
}

/// The fields of `/proc/PID/stat` (proc_pid_stat(5)) that are needed here.
struct Stat {
    pid: i32,
    parent: i32,
    ended: bool,
    started: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name in parentheses may hold anything, so fields are counted from the last closing one: state is the
    /// third field, the parent the fourth, the start time the 22nd.
    fn parse(pid: i32, line: &[u8]) -> Option<Self> {
        let end = line.iter().rposition(|&byte| byte == b')')?;
        let mut fields = std::str::from_utf8(&line[end + 1..]).ok()?.split_ascii_whitespace();
        let ended = matches!(fields.next()?, "Z" | "X");
        let parent = fields.next()?.parse().ok()?;
        let started = fields.nth(17)?.parse().ok()?;
        Some(Self { pid, parent, ended, started })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_fields() {
        let line =
            b"7 (x) Z 1 (y) S 42 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1 18446744073709551615";
        let stat = Stat::parse(7, line).unwrap();
        assert_eq!((stat.parent, stat.started, stat.ended), (42, 12345, false));
    }

    #[test]
    fn a_child_is_found_and_signalled() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let found = descendants(rustix::process::getpid()).unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let found = found.into_iter().find(|process| process.pid.as_raw_nonzero().get() == pid).unwrap();
        assert_eq!(found.generation, 1);
        found.signal(Signal::KILL);
        assert!(!child.wait().unwrap().success());
    }
}
