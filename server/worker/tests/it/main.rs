//! Drives the real worker over a socket pair, as the server does.
#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

mod containment;
mod driver;
mod escape;
mod forms;
mod web;
