//! End-to-end suites: each drives the built programs from outside.
#![allow(clippy::unwrap_used)]

mod accounts;
mod audit;
mod callers;
mod cli;
mod cli_owner;
mod closed;
mod conformance;
mod crash;
mod documents;
mod egress;
mod endorsements;
mod errors;
mod evidence;
mod examples;
mod floods;
mod footprint;
mod functions;
mod fuzz;
mod input;
mod invocations;
mod isolation;
mod keys;
mod metrics;
mod openapi;
mod production;
mod proxy;
mod proxy_attacks;
mod reference;
mod requests;
mod rules;
mod run;
mod secrets;
mod stateful;
mod use_only;
mod wire;
