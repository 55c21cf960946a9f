//! Every bound of PID 1, with its reason.

use std::time::Duration;

/// The kernel takes no longer command line on x86.
pub const COMMAND_LINE_BYTES: u64 = 2_048;
/// A configuration: as the server has it.
pub const CONFIG_BYTES: usize = 65_536;
/// The list of modules: some twenty lines.
pub const MODULE_LIST_BYTES: u64 = 16_384;
/// Small files of `/sys`: one page.
pub const SYSFS_BYTES: u64 = 4_096;
/// The host's table of certificates: as the server takes it.
pub const HOST_CERTIFICATES_BYTES: u64 = 262_144;
/// Open files of the server: one for each connection, of which its configuration may allow a million.
/// The kernel's own default is 4,096, and its bound this.
pub const OPEN_FILES: u64 = 1_048_576;
/// Block devices and network links that are looked at: a host can attach thousands.
pub const DEVICES: usize = 256;
/// Disks show up some time after their drivers.
pub const DISK_PATIENCE: Duration = Duration::from_secs(15);
/// Between two looks at the disks.
pub const DISK_PAUSE: Duration = Duration::from_millis(100);
/// A DHCP packet: more than one Ethernet frame is none.
pub const DHCP_BYTES: usize = 1_500;
/// Options of one packet.
pub const DHCP_OPTIONS: usize = 128;
/// Name servers that are used: the C library takes no more.
pub const NAME_SERVERS: usize = 3;
/// An answer to a DHCP packet, and the least time that a try takes which brings nothing: a host must
/// not keep this process busy. Doubled with each up to [`DHCP_WAIT_MAX`].
pub const DHCP_WAIT: Duration = Duration::from_secs(1);
/// The longest wait for an answer.
pub const DHCP_WAIT_MAX: Duration = Duration::from_secs(16);
/// Leases are renewed no more often: a host must not keep this process busy.
pub const RENEW_MIN: Duration = Duration::from_secs(60);
/// And no less often: a lease without an end is renewed daily.
pub const RENEW_MAX: Duration = Duration::from_secs(86_400);
/// The server's end after SIGTERM: it takes five seconds at most.
pub const END_PATIENCE: Duration = Duration::from_secs(8);
/// First pause before the server is started again; doubled up to [`RESTART_PAUSE_MAX`].
pub const RESTART_PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest pause.
pub const RESTART_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Who lived this long is no failure to start.
pub const RESTART_WELL: Duration = Duration::from_secs(60);
/// Failures in a row after which the machine is turned off: 91 s of pauses.
pub const RESTARTS: u32 = 8;
