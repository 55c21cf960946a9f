//! Tests of the library through its public types. One binary.

mod support;

mod verify {
    mod forgeries;
    mod vectors;
}
