//! What is shown to an agent, as arguments of bubblewrap or as rules of Landlock.
//!
//! Both show the same: the system's programs, a chosen part of `/etc`, the delivered files and what a profile names,
//! all to read; and the session's three folders to write. Nothing else of the machine's files is shown.

use std::io;
use std::path::{Path, PathBuf};

use super::confine::LandlockRules;
use super::sandbox::Network;
use super::workspace::Workspace;

/// The folders of a session as its agent sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Working folder.
    pub workspace: PathBuf,
    /// HOME.
    pub home: PathBuf,
    /// TMPDIR.
    pub tmp: PathBuf,
}

/// Top-level folders with the system's programs.
pub(crate) const SYSTEM: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"];
/// What programs read of `/etc`; keys and passwords are not among it.
const ETC: [&str; 16] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/fonts",
    "/etc/group",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/passwd",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
];
/// What programs read of `/etc` to find hosts.
const ETC_NETWORK: [&str; 7] = [
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
];
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// What one agent is shown.
pub(crate) struct Shown<'a> {
    workspace: &'a Workspace,
    places: &'a Places,
    program: &'a Path,
    read_paths: &'a [PathBuf],
    network: Network,
}

impl<'a> Shown<'a> {
    /// Gathers what a program is shown in a workspace, whose folders it sees at `places`.
    pub(crate) fn new(
        workspace: &'a Workspace,
        places: &'a Places,
        program: &'a Path,
        read_paths: &'a [PathBuf],
        network: Network,
    ) -> Self {
        Self { workspace, places, program, read_paths, network }
    }

    /// The arguments before the program's own (bwrap(1)). The session's `tmp/` is mounted on `/tmp` and `/dev/shm`, and
    /// the rest is read-only: what is written to a tmpfs would be the machine's memory.
    pub(crate) fn bubblewrap_args(&self) -> io::Result<Vec<String>> {
        let mut args: Vec<String> =
            ["--unshare-all", "--die-with-parent", "--cap-drop", "ALL"].map(str::to_owned).into();
        if self.network == Network::Host {
            args.push("--share-net".to_owned());
        }
        args.extend(["--uid", "1000", "--gid", "1000", "--hostname", "session"].map(str::to_owned));
        args.extend(["--proc", "/proc", "--dev", "/dev"].map(str::to_owned));
        let mut add = |option: &str, from: &Path, to: &Path| -> io::Result<()> {
            args.extend([option.to_owned(), text(from)?, text(to)?]);
            Ok(())
        };
        for folder in SYSTEM.map(Path::new) {
            match std::fs::read_link(folder) {
                Ok(target) => add("--symlink", &target, folder)?,
                Err(_) => add("--ro-bind-try", folder, folder)?,
            }
        }
        for path in ETC.iter().chain(self.etc_network()).map(Path::new) {
            add("--ro-bind-try", path, path)?;
        }
        let folder = |name: &str| self.workspace.path().join(name);
        add("--bind", &folder("tmp"), &self.places.tmp)?;
        add("--bind", &folder("tmp"), Path::new("/dev/shm"))?;
        add("--bind", &folder("home"), &self.places.home)?;
        add("--bind", &folder("ws"), &self.places.workspace)?;
        add("--ro-bind", &folder("attachments"), &self.places.workspace.join("attachments"))?;
        for path in self.outside_system() {
            add("--ro-bind", &path, &path)?;
        }
        args.extend(["--remount-ro", "/dev", "--remount-ro", "/", "--chdir"].map(str::to_owned));
        args.push(text(&self.places.workspace)?);
        Ok(args)
    }

    /// The same as rules of Landlock.
    pub(crate) fn landlock_rules(&self) -> LandlockRules {
        let mut read: Vec<PathBuf> = SYSTEM
            .iter()
            .chain(&ETC)
            .chain(self.etc_network())
            .chain(&["/proc"])
            .map(PathBuf::from)
            .collect();
        read.push(self.workspace.path().join("attachments"));
        read.extend(self.outside_system());
        LandlockRules {
            read,
            devices: DEVICES.map(PathBuf::from).into(),
            write: vec![self.places.workspace.clone(), self.places.home.clone(), self.places.tmp.clone()],
            no_network: self.network == Network::None,
        }
    }

    /// The paths to show besides the system's own: the program, what it is a link to, and what the profile names.
    fn outside_system(&self) -> Vec<PathBuf> {
        let real = self.program.canonicalize().ok();
        let mut paths: Vec<PathBuf> = self.read_paths.to_vec();
        for path in std::iter::once(self.program.to_owned()).chain(real) {
            let shown = SYSTEM.iter().map(Path::new).chain(self.read_paths.iter().map(PathBuf::as_path));
            if !shown.into_iter().any(|shown| path.starts_with(shown)) && !paths.contains(&path) {
                paths.push(path);
            }
        }
        paths
    }

    fn etc_network(&self) -> &'static [&'static str] {
        if self.network == Network::Host { &ETC_NETWORK } else { &[] }
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> io::Result<String> {
    match path.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(io::Error::other(format!("the path {} is not UTF-8, which agents need", path.display()))),
    }
}
