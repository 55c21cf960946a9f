//! Tests of the library through its public types. One binary.

#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

mod support;

mod verify {
    mod agreement;
    mod files;
    mod forgeries;
    mod hostile;
    mod vectors;
}
