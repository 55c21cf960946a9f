//! Tests of the library through its public types. One binary.

#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

mod support;

mod evidence {
    mod binding;
    mod documents;
    mod files;
    mod firmware;
    mod judgement;
    mod launch;
    mod receipts;
    mod scene;
    mod texts;
    mod vectors;
    mod welcome;
}

mod verify {
    mod agreement;
    mod crl;
    mod files;
    mod forgeries;
    mod hostile;
    mod vectors;
}
