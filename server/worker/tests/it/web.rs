//! The web's interfaces against their specifications, odd inputs first.

mod crypto;
mod fetch;
mod text;
mod timers;
mod url;
