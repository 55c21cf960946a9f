//! The verbs of an open store, by what they are about. What each reads and changes stands in the
//! file of the same name beside this folder.

mod accounts;
mod api_keys;
mod audit;
mod executions;
mod functions;
mod secrets;
