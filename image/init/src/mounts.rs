//! The kernel's own file systems, and its switches that are thrown for good.

use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, setrlimit};

use crate::limits::OPEN_FILES;
use crate::server::SERVER_ID;

/// Mounts them. There is no file system of a disk, and no program below any of these.
///
/// # Errors
/// As the kernel says.
pub fn mount_all() -> io::Result<()> {
    let plain = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let no_devices = plain | MsFlags::MS_NODEV;
    // Nobody but the server sees other processes: it looks at how large its workers are.
    let seen_by_server = format!("hidepid=2,gid={SERVER_ID}");
    for (kind, at, flags, options) in [
        ("proc", "/proc", no_devices, seen_by_server.as_str()),
        ("sysfs", "/sys", no_devices, ""),
        ("devtmpfs", "/dev", plain, "mode=755"),
        ("tmpfs", "/run", no_devices, "mode=755,size=8m"),
    ] {
        std::fs::create_dir_all(at)?;
        match mount(Some(kind), at, Some(kind), flags, Some(options)) {
            Ok(()) | Err(nix::errno::Errno::EBUSY) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Where `configfs` is, which hands out the host's certificates; without it there are none.
pub fn mount_configfs() -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    let none = None::<&str>;
    Ok(mount(Some("configfs"), "/sys/kernel/config", Some("configfs"), flags, none)?)
}

/// And it is gone again: nobody makes reports by it later.
pub fn unmount_configfs() -> io::Result<()> {
    Ok(nix::mount::umount("/sys/kernel/config")?)
}

/// No core files, as many open files as the server may need, no magic keys, and nobody reads the kernel's log or memory by the side.
///
/// # Errors
/// As the kernel says.
pub fn throw_switches() -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES)?;
    for (switch, to) in [
        ("kernel/core_pattern", "core"),
        ("kernel/sysrq", "0"),
        ("kernel/kptr_restrict", "2"),
        ("kernel/dmesg_restrict", "1"),
        ("kernel/unprivileged_bpf_disabled", "1"),
        ("kernel/panic", "-1"),
    ] {
        std::fs::write(Path::new("/proc/sys").join(switch), to)?;
    }
    Ok(())
}

/// From here on no module is loaded any more.
///
/// # Errors
/// As the kernel says.
pub fn no_more_modules() -> io::Result<()> {
    std::fs::write("/proc/sys/kernel/modules_disabled", "1")
}
