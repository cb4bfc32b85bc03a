//! What the lab needs from the kernel, and who can give it.

use nix::sched::CloneFlags;
use serde::{Deserialize, Serialize};
use std::{fs, io};
use thiserror::Error;

/// Where the right to make namespaces and devices comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Privilege {
    /// CAP_NET_ADMIN and CAP_SYS_ADMIN of the machine, as root has.
    Capabilities,
    /// The same inside a user namespace made for this process.
    UserNamespace,
}

/// Why there can be no lab on this machine for this user; the caller's to solve.
#[derive(Debug, Error)]
pub enum PrivilegeError {
    /// No TUN driver.
    #[error(
        "/dev/net/tun does not exist, which the WAN emulator needs: load the driver \
         (modprobe tun), or in a container pass the device (--device /dev/net/tun)"
    )]
    NoTunDevice,
    /// The TUN driver is there but not for this user.
    #[error(
        "no permission to open /dev/net/tun, which the WAN emulator needs: run as root, or let this \
         user read and write the device"
    )]
    TunPermission {
        /// What the kernel said.
        source: io::Error,
    },
    /// Neither the capabilities nor a user namespace.
    #[error(
        "this process lacks {missing}, which network namespaces need, and may not make a user \
         namespace to get them: run as root, or allow user namespaces (sysctl \
         user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)"
    )]
    NoCapability {
        /// The capabilities that are missing.
        missing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A user namespace must be entered before the first thread is started.
    #[error(
        "this process lacks {missing} and has {threads} threads: a user namespace can only be \
         entered before the second one starts"
    )]
    TooLate {
        /// The capabilities that are missing.
        missing: String,
        /// Threads of this process.
        threads: usize,
    },
    /// The kernel's own account of this process cannot be read.
    #[error("cannot read {path}: is /proc mounted?")]
    Proc {
        /// Which file.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Bits of the capabilities a lab uses.
const NEEDED: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")];

/// Gets what a lab needs, entering a user namespace where the process has no capabilities.
///
/// Call it before any thread is started: a process with threads cannot enter a user namespace.
///
/// # Errors
/// The caller's or the machine's fault; says what is missing and how to get it.
pub fn acquire() -> Result<Privilege, PrivilegeError> {
    let missing = missing_capabilities()?;
    if missing.is_empty() {
        check_tun()?;
        return Ok(Privilege::Capabilities);
    }
    let threads = thread_count()?;
    if threads > 1 {
        return Err(PrivilegeError::TooLate { missing, threads });
    }
    // Before the namespace: inside it every file of others looks like nobody's.
    check_tun()?;
    let refused = |source| PrivilegeError::NoCapability { missing: missing.clone(), source };
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    nix::sched::unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| refused(errno.into()))?;
    fs::write("/proc/self/setgroups", "deny").map_err(refused)?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).map_err(refused)?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).map_err(refused)?;
    Ok(Privilege::UserNamespace)
}

/// Checks that this process can have a lab now, without changing anything.
///
/// # Errors
/// As [`acquire`].
pub fn check() -> Result<(), PrivilegeError> {
    let missing = missing_capabilities()?;
    if !missing.is_empty() {
        return Err(PrivilegeError::TooLate { missing, threads: thread_count()? });
    }
    check_tun()
}

fn check_tun() -> Result<(), PrivilegeError> {
    match fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
        Ok(_) => Ok(()),
        // The node exists but no driver answers (ENXIO, ENODEV), or it does not exist.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(PrivilegeError::NoTunDevice),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENODEV)) => {
            Err(PrivilegeError::NoTunDevice)
        }
        Err(source) => Err(PrivilegeError::TunPermission { source }),
    }
}

/// Names of the needed capabilities that are not in effect, joined; empty when all are.
fn missing_capabilities() -> Result<String, PrivilegeError> {
    let effective = u64::from_str_radix(&status_field("CapEff")?, 16).unwrap_or(0);
    let absent = NEEDED.iter().filter(|(bit, _)| effective >> bit & 1 == 0);
    Ok(absent.map(|(_, name)| *name).collect::<Vec<_>>().join(" and "))
}

fn thread_count() -> Result<usize, PrivilegeError> {
    Ok(status_field("Threads")?.parse().unwrap_or(usize::MAX))
}

fn status_field(name: &str) -> Result<String, PrivilegeError> {
    let path = "/proc/self/status";
    let status =
        fs::read_to_string(path).map_err(|source| PrivilegeError::Proc { path, source })?;
    let value = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    Ok(value.unwrap_or_default().trim().to_owned())
}
