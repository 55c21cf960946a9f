//! Floods by peers that have no key: the server's memory stays bounded, one address does not take
//! what others need, and a client at another address is served throughout.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use neo_secrets_tests::appliance::{Appliance, CONFIG, Home, chip};
use neo_secrets_tests::http::{Connection, tcp_from};
use snp_simulator::Product;

/// The most that may ever have been resident.
const PEAK_KIB_MAX: u64 = 200 * 1024;
const FLOOD: usize = 1_000;
const CLIENT: [u8; 4] = [127, 0, 0, 200];

/// This process needs a file for each connection, as the server does.
fn allow_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < 10_000) {
        let current = maximum.map_or(10_000, |maximum| maximum.min(10_000));
        setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum }).unwrap();
    }
}

struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs a flood while a client at another address calls on, on a connection that it keeps and on a
/// new one each time. Every call of it has to succeed; its times are printed.
fn beside_a_client<T>(appliance: &Appliance<'_>, flood: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Also where the flood panics: the scope waits for the client.
        let end = SetWhenDropped(&over);
        let client = scope.spawn(|| {
            let connect = || Connection::try_on(tcp_from(CLIENT, appliance.addr).unwrap()).unwrap();
            let (mut kept, mut calls) = (connect(), Vec::new());
            while !over.load(Ordering::Relaxed) {
                let started = Instant::now();
                assert_eq!(kept.call("GET", "/healthz", "", None).status, 200);
                let on_kept = started.elapsed();
                let started = Instant::now();
                assert_eq!(connect().call("GET", "/healthz", "", None).status, 200);
                calls.push((on_kept, started.elapsed()));
            }
            calls
        });
        let outcome = flood();
        drop(end);
        let calls = client.join().unwrap();
        let worst = |time: fn(&(Duration, Duration)) -> Duration| calls.iter().map(time).max();
        let (kept, new) = (worst(|call| call.0).unwrap(), worst(|call| call.1).unwrap());
        let peak = appliance.memory_kib("VmHWM");
        let count = calls.len();
        println!("client: {count} rounds, worst {kept:?} kept, {new:?} new; peak {peak} KiB");
        assert!(peak < PEAK_KIB_MAX, "{peak} KiB");
        outcome
    })
}

/// Connections from two addresses, each after its first call: before that one, a connection has 5 s.
fn connections(addr: SocketAddr) -> Vec<Connection> {
    let from = |n: usize| [127, 0, 0, if n.is_multiple_of(2) { 2 } else { 3 }];
    let open = |n| {
        let mut connection = Connection::try_on(tcp_from(from(n), addr).unwrap()).unwrap();
        assert_eq!(connection.call("GET", "/healthz", "", None).status, 200);
        connection
    };
    std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            scope.spawn(move || (0..FLOOD / 2).map(|n| open(2 * n + half)).collect::<Vec<_>>())
        });
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    })
}

#[test]
fn a_flood_of_idle_connections_leaves_room_for_others() {
    allow_files();
    let home = Home::usual();
    let appliance = home.start();
    let mut idle = beside_a_client(&appliance, || connections(appliance.addr));
    assert_eq!(idle.len(), FLOOD);
    // Each of them is a whole connection.
    for connection in idle.iter_mut().step_by(100) {
        assert_eq!(connection.call("GET", "/healthz", "", None).status, 200);
    }
}

#[test]
fn a_flood_of_half_done_handshakes_delays_nobody_elsewhere() {
    allow_files();
    let home = Home::usual();
    let appliance = home.start();
    // More from each address than both workers have places for; silent ones, and ones that have
    // sent a part of their first message.
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 40]].concat();
    beside_a_client(&appliance, || {
        let mut half_done = Vec::new();
        for n in 0..2 * FLOOD {
            let mut tcp = tcp_from([127, 0, 0, 2 + (n % 2) as u8], appliance.addr).unwrap();
            if n % 4 < 2 {
                tcp.write_all(&hello).unwrap();
            }
            half_done.push(tcp);
        }
        // At their own address, others wait their turn, and have it when those before are given up.
        let waited = Connection::try_on(tcp_from([127, 0, 0, 2], appliance.addr).unwrap());
        println!("one more of the flood's address: {}", waited.is_ok());
        drop(half_done);
    });
    // When it is over, its addresses are served like any other.
    for address in [[127, 0, 0, 2], [127, 0, 0, 3]] {
        let served = (0..1_000).any(|_| {
            let tcp = tcp_from(address, appliance.addr).unwrap();
            Connection::try_on(tcp).is_ok_and(|mut connection| {
                connection.call("GET", "/healthz", "", None).status == 200
            })
        });
        assert!(served, "{address:?}");
    }
}

#[test]
fn a_flood_of_handshakes_leaves_others_their_turn() {
    const EACH: usize = 250;
    let home = Home::usual();
    let appliance = home.start();
    let done: usize = beside_a_client(&appliance, || {
        std::thread::scope(|scope| {
            let floods = [2, 3, 4, 5].map(|n| {
                let addr = appliance.addr;
                scope.spawn(move || {
                    let open = |_: &usize| {
                        Connection::try_on(tcp_from([127, 0, 0, n], addr).unwrap()).is_ok()
                    };
                    (0..EACH).filter(open).count()
                })
            });
            floods.into_iter().map(|flood| flood.join().unwrap()).sum()
        })
    });
    assert_eq!(done, 4 * EACH);
}

#[test]
fn a_flood_of_dribbled_heads_and_bodies_stays_small() {
    allow_files();
    let home = Home::usual();
    let appliance = home.start();
    let admin = appliance.claim().admin;
    let json = "Host: a\r\nContent-Type: application/json\r\n";
    let claim = format!("POST /v1/claim HTTP/1.1\r\n{json}Content-Length: 16384\r\n\r\n{{");
    let key = format!("Authorization: Bearer {admin}\r\n");
    let post = "POST /v1/secrets HTTP/1.1\r\n";
    let keyed = format!("{post}{json}{key}Content-Length: 1048576\r\n\r\n{{");
    let chunked = format!("{post}{json}{key}Transfer-Encoding: chunked\r\n\r\n10000\r\n{{");
    let head = "GET /healthz HTTP/1.1\r\nX: ".to_owned();
    beside_a_client(&appliance, || {
        let mut flood = connections(appliance.addr);
        for (n, connection) in flood.iter_mut().enumerate() {
            let (start, bulk) = match n % 4 {
                0 => (&claim, 16_000),
                1 => (&keyed, 60_000),
                2 => (&chunked, 60_000),
                _ => (&head, 16_000),
            };
            let bulk = " ".repeat(bulk).replace(' ', if n % 4 == 3 { "x" } else { " " });
            connection.write(format!("{start}{bulk}").as_bytes()).unwrap();
        }
        for _ in 0..5 {
            for connection in &mut flood {
                // A head that took its 5 s is refused meanwhile.
                let _ = connection.write(b" ");
            }
        }
    });
}

#[test]
fn a_flood_of_large_bodies_takes_no_more_than_their_room() {
    const LARGE: usize = 240;
    let home = Home::usual();
    let appliance = home.start();
    let admin = appliance.claim().admin;
    let headers = format!("Authorization: Bearer {admin}\r\nContent-Type: application/json\r\n");
    let large = " ".repeat(1_000_000);
    let head = format!("POST /v1/secrets HTTP/1.1\r\nHost: a\r\n{headers}");
    let start = format!("{head}Content-Length: 1048576\r\n\r\n{{{large}");
    beside_a_client(&appliance, || {
        let open =
            || Connection::try_on(tcp_from([127, 0, 0, 2], appliance.addr).unwrap()).unwrap();
        let mut flood = Vec::new();
        for _ in 0..LARGE {
            let mut connection = open();
            connection.write(start.as_bytes()).unwrap();
            flood.push(connection);
        }
        // Another large body finds no room; what most callers send needs none of it.
        let mut c = appliance.connect();
        let send = |c: &mut Connection, name: &str, spaces: usize| {
            let spaces = " ".repeat(spaces);
            let body = format!("{{\"name\":\"{name}\",{spaces}\"value\":\"x\"}}");
            c.send("POST", "/v1/secrets", &headers, Some(body.as_bytes()))
        };
        let large = || send(&mut appliance.connect(), "large", 500_000).status;
        assert!((0..10_000).any(|_| large() == 503), "when the server has read the flood");
        assert_eq!(send(&mut c, "small", 16_000).status, 201);
        drop(flood);
        assert!((0..10_000).any(|_| large() != 503));
    });
}

#[test]
fn slow_readers_hold_no_more_than_their_own_answers() {
    const READERS: usize = 200;
    allow_files();
    let home = Home::usual();
    let appliance = home.start();
    let evidence = "GET /v1/attestation?nonce=AAAAAAAAAAAAAAAAAAAAAA HTTP/1.1\r\nHost: a\r\n\r\n";
    beside_a_client(&appliance, || {
        // Each asks for far more than it reads: the next request waits for the last answer's end.
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let tcp = tcp_from([127, 0, 0, 2], appliance.addr).unwrap();
            let mut reader = Connection::try_on(tcp).unwrap();
            reader.write(evidence.repeat(200).as_bytes()).unwrap();
            readers.push(reader);
        }
    });
}

#[test]
fn an_address_has_its_share_of_the_connections_and_no_more() {
    let limits = "[limits]\nconnections = 64\nconnections_per_address = 4\n";
    let home = Home::new(&chip(Product::Genoa), &format!("{CONFIG}{limits}"));
    let appliance = home.start();
    let owner = appliance.claim().owner;
    let open = |address: u8| Connection::try_on(tcp_from([127, 0, 0, address], appliance.addr)?);
    let mut held: Vec<_> = (0..4).map(|_| open(2).unwrap()).collect();
    for _ in 0..3 {
        assert!(open(2).is_err(), "a fifth connection of one address");
    }
    // Another address has its own, and those that are held go on.
    assert_eq!(open(3).unwrap().call("GET", "/healthz", "", None).status, 200);
    for connection in &mut held {
        assert_eq!(connection.call("GET", "/healthz", "", None).status, 200);
    }
    let metrics = open(4).unwrap().call("GET", "/metrics", &owner, None);
    let metrics = String::from_utf8(metrics.body).unwrap();
    assert!(metrics.contains("\nneo_secrets_refused_connections_total 3\n"), "{metrics}");
    // A place that is given back is there for the next; nothing but that is waited for.
    drop(held.pop());
    assert!((0..100_000).any(|_| open(2).is_ok()));
    // Silent connections count too.
    let silent: Vec<TcpStream> =
        (0..4).map(|_| tcp_from([127, 0, 0, 5], appliance.addr).unwrap()).collect();
    let refused = (0..100_000).any(|_| open(5).is_err());
    assert!(refused);
    for mut tcp in silent {
        tcp.shutdown(Shutdown::Write).unwrap();
        let _ = tcp.read_to_end(&mut Vec::new());
    }
    assert!((0..100_000).any(|_| open(5).is_ok()));
}
