//! The kernel's own file systems, and its switches that are thrown for good.

use std::fs::OpenOptions;
use std::io::{self, Write};
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

/// Every kernel has these.
const SWITCHES: [(&str, &str); 7] = [
    ("kernel/core_pattern", "core"),
    ("kernel/sysrq", "0"),
    ("kernel/ctrl-alt-del", "0"), // SIGINT to this process, and not a reboot at once
    ("kernel/kptr_restrict", "2"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("kernel/panic", "-1"),
];

/// What gives whoever has taken a process over more of the kernel to attack; a kernel that was built
/// without one of them has no file for it.
const SWITCHES_IF_THERE: [(&str, &str); 3] = [
    // In one of its own, anybody has every capability.
    ("user/max_user_namespaces", "0"),
    // Does what a filter of system calls would see otherwise.
    ("kernel/io_uring_disabled", "2"),
    ("kernel/yama/ptrace_scope", "3"),
];

/// No core files, as many open files as the server may need, no magic keys, no user namespaces, no
/// io_uring, no debuggers, and nobody reads the kernel's log or memory by the side.
///
/// # Errors
/// As the kernel says.
pub fn throw_switches() -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES)?;
    throw(Path::new("/proc/sys"))
}

fn throw(switches: &Path) -> io::Result<()> {
    // Not created: where there is no such file, /proc would give another error for that.
    let write = |switch: &str, to: &str| {
        OpenOptions::new().write(true).open(switches.join(switch))?.write_all(to.as_bytes())
    };
    SWITCHES.into_iter().try_for_each(|(switch, to)| write(switch, to))?;
    SWITCHES_IF_THERE.into_iter().try_for_each(|(switch, to)| match write(switch, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        thrown => thrown,
    })
}

/// From here on no module is loaded any more.
///
/// # Errors
/// As the kernel says.
pub fn no_more_modules() -> io::Result<()> {
    std::fs::write("/proc/sys/kernel/modules_disabled", "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that has all switches but one.
    fn without(missing: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (switch, _) in SWITCHES.iter().chain(&SWITCHES_IF_THERE) {
            let path = folder.path().join(switch);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            if *switch != missing {
                std::fs::write(path, "").unwrap();
            }
        }
        folder
    }

    #[test]
    fn every_switch_is_thrown() {
        let folder = without("");
        throw(folder.path()).unwrap();
        for (switch, to) in SWITCHES.iter().chain(&SWITCHES_IF_THERE) {
            assert_eq!(std::fs::read_to_string(folder.path().join(switch)).unwrap(), *to);
        }
    }

    #[test]
    fn only_what_a_kernel_may_lack_is_passed_over() {
        for (switch, _) in SWITCHES {
            let error = throw(without(switch).path()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{switch}");
        }
        for (switch, _) in SWITCHES_IF_THERE {
            let folder = without(switch);
            throw(folder.path()).unwrap();
            assert!(!folder.path().join(switch).exists());
            std::fs::create_dir(folder.path().join(switch)).unwrap();
            let error = throw(folder.path()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::IsADirectory, "{switch} refuses");
        }
    }
}
