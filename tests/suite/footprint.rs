//! What an idle instance costs. Memory is asserted; the time to readiness depends on the machine
//! and is printed.

use std::time::Instant;

use neo_secrets_tests::appliance::Home;

const IDLE_KIB_MAX: u64 = 40 * 1024;

#[test]
fn an_idle_instance_stays_under_40_mib() {
    let home = Home::usual();
    let appliance = home.start();
    appliance.claim();
    assert!(appliance.terminate().success());
    let started = Instant::now();
    let appliance = home.start();
    assert_eq!(appliance.state(), "ready");
    println!("start to ready: {} ms", started.elapsed().as_millis());
    let kib = appliance.memory_kib("VmRSS");
    println!("resident: {} KiB", kib);
    assert!(kib < IDLE_KIB_MAX, "{kib} KiB");
}
