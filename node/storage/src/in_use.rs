//! Whether a process has a database open, asked without opening it.

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    libc,
};
use std::{fs::File, io, path::Path};

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
    Ok(i32::from(lock.l_type) != libc::F_UNLCK as i32)
}
