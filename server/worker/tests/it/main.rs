//! Drives the real worker over a socket pair, as the server does.

mod containment;
mod driver;
mod escape;
mod forms;
mod web;
