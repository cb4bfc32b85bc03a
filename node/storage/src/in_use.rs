//! Whether a process has a database open, asked without opening it; and that only one has a data directory.

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    libc,
};
use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
};

/// One process's hold on a data directory, until it is dropped or the process ends.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

impl DirLock {
    /// The file that is locked.
    const NAME: &str = "node.lock";

    /// Takes hold of `dir`, which is there; `None` while another process has it.
    ///
    /// # Errors
    /// The disk's fault, or missing permission.
    pub fn take(dir: &Path) -> io::Result<Option<Self>> {
        let path = dir.join(Self::NAME);
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Whether another process holds the database in `dir`; a folder without one is held by nobody.
///
/// Never to be asked by the process that holds it: closing the file would end its own lock.
///
/// # Errors
/// The file cannot be opened or asked about.
pub fn is_in_use(dir: &Path) -> io::Result<bool> {
    let file = match File::options().read(true).write(true).open(dir.join("LOCK")) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    // RocksDB locks the whole file; a lock of this process's own would not be seen.
    let whole = |kind| libc::flock {
        l_type: kind,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    let mut lock = whole(libc::F_WRLCK as libc::c_short);
    fcntl(&file, FcntlArg::F_GETLK(&mut lock)).map_err(|errno: Errno| io::Error::from(errno))?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_has_one_process_at_a_time() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first = DirLock::take(dir.path()).expect("writable").expect("nobody else");
        assert!(DirLock::take(dir.path()).expect("writable").is_none());
        drop(first);
        assert!(DirLock::take(dir.path()).expect("writable").is_some());
        assert!(DirLock::take(&dir.path().join("none")).is_err());
    }
}
