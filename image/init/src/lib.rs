//! PID 1 of the appliance, in parts that can be tried without being PID 1. README.md says what it
//! does and in which order.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod boot;
pub mod command_line;
pub mod config;
pub mod console;
pub mod dhcp;
pub mod disks;
pub mod files;
pub mod limits;
pub mod modules;
pub mod mounts;
pub mod netlink;
pub mod network;
pub mod power;
pub mod restart;
pub mod server;
