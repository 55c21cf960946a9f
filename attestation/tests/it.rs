//! Tests of the library through its public types. One binary.

mod support;

mod verify {
    mod agreement;
    mod files;
    mod forgeries;
    mod hostile;
    mod vectors;
}
