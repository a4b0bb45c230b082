//! Files below a folder, reached by descriptor.
//!
//! An agent owns its folders: it can swap one for a symbolic link, leave a FIFO where a file was, or take away every
//! permission. Everything here starts from an open descriptor and never follows a link, so nothing outside the
//! starting folder is opened, changed or removed. It does not judge what a file holds.

use std::ffi::CStr;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// Flags with which a folder is opened.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// Opens `path` below `from` without following a link in any component (`openat2(2)` with `RESOLVE_BENEATH` and
/// `RESOLVE_NO_SYMLINKS`; component by component with `O_NOFOLLOW` where the kernel or a filter has no `openat2`).
///
/// # Errors
/// `ELOOP` or `ENOTDIR` where a component is a link, `EXDEV` or `EINVAL` where the path would leave the folder.
pub fn open(from: impl AsFd, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(&from, path, flags, mode, resolve) {
        Err(Errno::NOSYS | Errno::PERM) => open_by_component(from, path, flags, mode),
        opened => Ok(opened?),
    }
}

/// Opens the folder `path` below `from`, as [`open`] does.
pub fn open_folder(from: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    open(from, path, FOLDER, Mode::empty())
}

/// Opens a folder that the caller vouches for; links on the way to it are followed, the folder itself may not be one.
pub fn open_root(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, FOLDER | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?)
}

/// What `name` in `folder` is, without following it, or `None` where there is nothing of that name.
pub fn look(folder: impl AsFd, name: impl rustix::path::Arg) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The kind of file that a `stat` speaks of.
pub fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The names in a folder, unsorted, without `.` and `..`; at most `limit` of them.
pub fn names(folder: impl AsFd, limit: usize) -> io::Result<Vec<std::ffi::CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            if names.len() == limit {
                break;
            }
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Makes the folder `name` in `folder` unless it is there, and opens it. Its mode becomes `mode` either way.
pub fn make_folder(folder: impl AsFd, name: &str, mode: u32) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    unlock(&folder, name, mode)
}

/// Writes `bytes` to `name` in `folder` by way of a temporary name, so that a reader sees the old text or the new one.
pub fn write_atomically(folder: impl AsFd, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = format!(".{name}.part");
    remove(&folder, &temporary)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let mut file = File::from(open(&folder, Path::new(&temporary), flags, Mode::from_raw_mode(0o600))?);
    io::Write::write_all(&mut file, bytes)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    Ok(rustix::fs::renameat(&folder, temporary.as_str(), &folder, name)?)
}

/// Renames without replacing, `EEXIST` where `to` is taken; file systems that cannot do so in one step look first.
pub fn rename_to_new(folder: impl AsFd, from: &str, to: &str) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(&folder, from, &folder, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            match rustix::fs::statat(&folder, to, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(Errno::EXIST),
                Err(_) => rustix::fs::renameat(&folder, from, &folder, to),
            }
        }
        renamed => renamed,
    }
}

/// Removes `name` from `folder`, whatever it is: a file, a link (never its target) or a whole tree. Folders without
/// any permission are opened up first, and a tree of any depth is taken down with two open folders, because each
/// inner folder is first moved to the top. Nothing of that name is not an error.
pub fn remove(folder: impl AsFd, name: impl rustix::path::Arg + Copy) -> io::Result<()> {
    let Some(stat) = look(&folder, name)? else { return Ok(()) };
    if kind(&stat) != FileType::Directory {
        return Ok(rustix::fs::unlinkat(&folder, name, AtFlags::empty())?);
    }
    let top = unlock(&folder, name, 0o700)?;
    let mut moved = 0_u64;
    loop {
        // A moved folder may land behind the position of this reading, so the folder is read until it is empty.
        let inner = names(&top, 4096)?;
        if inner.is_empty() {
            break;
        }
        for name in inner {
            remove_flat(&top, &name, &mut moved)?;
        }
    }
    Ok(rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR)?)
}

/// Removes one entry of `top`; the folders inside it become entries of `top`.
fn remove_flat(top: &OwnedFd, name: &CStr, moved: &mut u64) -> io::Result<()> {
    let Some(stat) = look(top, name)? else { return Ok(()) };
    if kind(&stat) != FileType::Directory {
        return Ok(rustix::fs::unlinkat(top, name, AtFlags::empty())?);
    }
    let folder = unlock(top, name, 0o700)?;
    loop {
        let inner = names(&folder, 4096)?;
        if inner.is_empty() {
            return Ok(rustix::fs::unlinkat(top, name, AtFlags::REMOVEDIR)?);
        }
        for name in inner {
            let Some(stat) = look(&folder, &*name)? else { continue };
            if kind(&stat) == FileType::Directory {
                drop(unlock(&folder, &*name, 0o700)?);
                while look(top, format!(".removed-{moved}"))?.is_some() {
                    *moved += 1;
                }
                rustix::fs::renameat(&folder, &*name, top, format!(".removed-{moved}"))?;
            } else {
                rustix::fs::unlinkat(&folder, &*name, AtFlags::empty())?;
            }
        }
    }
}

/// Does what may take long, such as removing a tree of an agent's making, where it keeps no other task waiting.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Gives a folder the permissions `mode` and opens it, without ever following a link. The mode is set through
/// `/proc/self/fd`, because a descriptor that needs no permission (`O_PATH`) cannot be given to `fchmod`.
fn unlock(from: impl AsFd, name: impl rustix::path::Arg, mode: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::openat(from, name, flags, Mode::empty())?;
    if rustix::fs::fstat(&place)?.st_mode & 0o7777 != mode {
        let path = format!("/proc/self/fd/{}", place.as_raw_fd());
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(rustix::fs::openat(&place, c".", FOLDER | OFlags::CLOEXEC, Mode::empty())?)
}

fn open_by_component(from: impl AsFd, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let mut components = path.components().peekable();
    let mut here = from.as_fd().try_clone_to_owned()?;
    while let Some(component) = components.next() {
        let Component::Normal(name) = component else {
            return Err(Errno::XDEV.into());
        };
        if components.peek().is_none() {
            return Ok(rustix::fs::openat(here, name, flags, mode)?);
        }
        here = rustix::fs::openat(here, name, FOLDER | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Err(Errno::NOENT.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_is_not_followed_by_either_way_of_opening() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        fs::write(dir.path().join("real/file"), "x").unwrap();
        symlink("real", dir.path().join("linked")).unwrap();
        let root = open_root(dir.path()).unwrap();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
        for (path, opens) in
            [("real/file", true), ("linked/file", false), ("real/../../file", false), ("/etc/passwd", false)]
        {
            assert_eq!(open(&root, Path::new(path), flags, Mode::empty()).is_ok(), opens, "{path}");
            assert_eq!(
                open_by_component(&root, Path::new(path), flags, Mode::empty()).is_ok(),
                opens,
                "{path}"
            );
        }
    }

    #[test]
    fn a_deep_and_locked_tree_is_removed_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("kept"), "x").unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        symlink("../kept", dir.path().join("tree/link")).unwrap();
        let root = open_root(dir.path()).unwrap();
        let mut here = open_folder(&root, Path::new("tree")).unwrap();
        for _ in 0..3000 {
            here = make_folder(&here, "inner", 0o700).unwrap();
        }
        drop(here);
        let locked = dir.path().join("tree/locked");
        fs::create_dir_all(locked.join("more/and more")).unwrap();
        fs::set_permissions(locked.join("more"), Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(&locked, Permissions::from_mode(0o000)).unwrap();
        remove(&root, "tree").unwrap();
        assert!(!dir.path().join("tree").exists());
        assert_eq!(fs::read(dir.path().join("kept")).unwrap(), b"x");
        remove(&root, "tree").unwrap();
    }
}
