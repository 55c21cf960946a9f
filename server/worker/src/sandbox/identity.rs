//! Whose process it is: nobody's.

use std::io;

use rustix::process::{Gid, Uid, getegid, geteuid, getgid, getuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities,
    set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

/// User and group of a worker that root starts: between the ids that distributions give out (to
/// 65,535) and those of containers (from 524,288), and so nobody else's.
pub const WORKER_ID: u32 = 70_021;

/// Leaves root, where it is root in any way, and every capability in any case.
pub(super) fn give_up() -> io::Result<()> {
    let root =
        getuid().is_root() || geteuid().is_root() || getgid().is_root() || getegid().is_root();
    if root {
        let (user, group) = (Uid::from_raw(WORKER_ID), Gid::from_raw(WORKER_ID));
        set_thread_groups(&[])?;
        set_thread_res_gid(group, group, group)?;
        set_keep_capabilities(false)?;
        set_thread_res_uid(user, user, user)?;
    }
    // A kernel from before ambient capabilities has none to clear.
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    Ok(())
}
