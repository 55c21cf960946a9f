//! End-to-end suites: each drives the built programs from outside.
#![allow(clippy::unwrap_used)]

mod accounts;
mod audit;
mod cli;
mod closed;
mod crash;
mod endorsements;
mod errors;
mod evidence;
mod footprint;
mod keys;
mod metrics;
mod openapi;
mod production;
mod proxy;
mod proxy_attacks;
mod reference;
mod rules;
mod run;
mod secrets;
