//! What an idle instance costs. Memory is asserted; the time to readiness depends on the machine
//! and is printed.

use std::time::Instant;

use neo_secrets_tests::appliance::Home;

const IDLE_KIB_MAX: u64 = 40 * 1024;

fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

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
    let kib = resident_kib(appliance.process_id());
    println!("resident: {} KiB", kib);
    assert!(kib < IDLE_KIB_MAX, "{kib} KiB");
}
