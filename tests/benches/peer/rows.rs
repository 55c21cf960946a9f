//! The rows of the table, one function each.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use neo_secrets_tests::appliance::{Appliance, Claimed};
use serde_json::json;

use super::bao::Bao;
use super::floor::Floor;
use super::load::{Figures, Load, Requests};
use super::neo::{self, bearer};
use super::profile::Profile;
use super::report::{Bound, Row, Series};
use super::{engine, handshakes, invocations};

pub type Outcome = Result<Row, Box<dyn Error>>;

pub const NEO: &str = "Neo Secrets";
const BAO: &str = "OpenBao";
const UNAUDITED: &str = "OpenBao, no audit device";
const APPLICATION: &str = "OpenBao, a token of one policy";
const FLOOR: &str = "empty route";
/// 32 bytes.
const VALUE: &str = "0123456789abcdef0123456789abcdef";

/// What the rows share.
pub struct Bench<'a> {
    pub appliance: &'a Appliance<'a>,
    pub claimed: &'a Claimed,
    pub bao: &'a Bao,
    pub unaudited: &'a Bao,
    pub floor: &'a Floor,
    /// Paths of 1,000 secrets here, and in both of OpenBao's servers.
    pub secrets: Vec<String>,
    pub bao_secrets: Vec<String>,
    pub scratch: PathBuf,
    pub rounds: usize,
    pub time: Duration,
    /// Where flame graphs go, if there are to be some.
    pub profiles: Option<PathBuf>,
}

pub type Contender<'a> = (&'a str, &'a dyn Fn() -> Result<Figures, std::io::Error>);

impl<'a> Bench<'a> {
    /// With 1,000 secrets here and there.
    pub fn new(
        (appliance, claimed): (&'a Appliance<'a>, &'a Claimed),
        (bao, unaudited, floor): (&'a Bao, &'a Bao, &'a Floor),
        scratch: &Path,
        (rounds, time): (usize, Duration),
    ) -> Self {
        let secrets = neo::fill(appliance, &claimed.admin, 1_000, VALUE);
        let bao_secrets = bao.fill(1_000);
        assert_eq!(bao_secrets, unaudited.fill(1_000));
        let scratch = scratch.to_owned();
        let profiles = None;
        Bench {
            appliance,
            claimed,
            bao,
            unaudited,
            floor,
            secrets,
            bao_secrets,
            scratch,
            rounds,
            time,
            profiles,
        }
    }

    /// Runs the contenders in turns: what else the machine does meets all of them.
    pub fn alternate(&self, contenders: &[Contender<'_>]) -> Result<Vec<Series>, std::io::Error> {
        let series =
            |&(name, _): &Contender<'_>| Series { contender: name.to_owned(), runs: Vec::new() };
        let mut all: Vec<_> = contenders.iter().map(series).collect();
        for _ in 0..self.rounds {
            for (series, (_, run)) in all.iter_mut().zip(contenders) {
                series.runs.push(run()?);
            }
        }
        Ok(all)
    }

    /// Runs a load once more, for the profile of this server: in a turn that nothing else counts.
    pub fn profile(
        &self,
        row: &mut Row,
        appliance: &Appliance<'_>,
        load: &dyn Fn() -> Result<Figures, std::io::Error>,
    ) -> Result<(), std::io::Error> {
        let Some(folder) = &self.profiles else { return Ok(()) };
        let server = (row.id, appliance.process_id());
        let load = || load().map(|_| ());
        row.profile = Profile::record(server, (&self.scratch, folder), &load)?;
        Ok(())
    }

    pub fn load(
        &self,
        url: &str,
        connections: usize,
        requests: &Requests,
    ) -> Result<Figures, std::io::Error> {
        Load { url, connections, time: self.time, requests }.run(&self.scratch)
    }

    pub fn neo(&self, connections: usize, requests: &Requests) -> Result<Figures, std::io::Error> {
        self.load(&self.appliance.url(), connections, requests)
    }

    pub fn admin(&self) -> String {
        bearer(&self.claimed.admin)
    }

    /// A load on one of OpenBao's servers.
    fn bao(
        &self,
        bao: &Bao,
        connections: usize,
        requests: &Requests,
    ) -> Result<Figures, std::io::Error> {
        let figures = self.load(&bao.url(), connections, requests)?;
        bao.forget_calls()?;
        Ok(figures)
    }

    fn bao_reads(&self, header: String) -> Requests {
        Requests::Read { paths: self.bao_secrets.clone(), headers: vec![header] }
    }

    fn bao_creates(bao: &Bao) -> Requests {
        Requests::Create {
            path: "/v1/kv/data/NAME".to_owned(),
            header: bao.header(),
            body: json!({"data": {"value": VALUE}}).to_string(),
        }
    }

    fn creates(&self) -> Requests {
        let body = json!({"name": "NAME", "value": VALUE}).to_string();
        Requests::Create { path: "/v1/secrets".to_owned(), header: self.admin(), body }
    }

    /// Our rate over others', beside the goals.
    fn also(row: &mut Row, others: &[&str]) {
        for other in others {
            row.fact(format!("rate over {other}"), row.ratio(NEO, other, |run| run.per_second));
        }
    }

    /// One secret's metadata.
    pub fn metadata(&self, id: &'static str, connections: usize) -> Outcome {
        let reads = Requests::Read { paths: self.secrets.clone(), headers: vec![self.admin()] };
        let bao = self.bao_reads(self.bao.header());
        let unaudited = self.bao_reads(self.unaudited.header());
        let application = self.bao_reads(self.bao.application_header());
        let nothing = Requests::Read { paths: vec!["/".to_owned()], headers: vec![String::new()] };
        let series = self.alternate(&[
            (NEO, &|| self.neo(connections, &reads)),
            (BAO, &|| self.bao(self.bao, connections, &bao)),
            (UNAUDITED, &|| self.bao(self.unaudited, connections, &unaudited)),
            (APPLICATION, &|| self.bao(self.bao, connections, &application)),
            (FLOOR, &|| self.load(&self.floor.url(), connections, &nothing)),
        ])?;
        let title = format!("Read one secret's metadata, {connections} connections");
        let mut row = Row::new(id, title, series);
        row.goal(
            "rate over OpenBao's read",
            row.ratio(NEO, BAO, |run| run.per_second),
            Bound::AtLeast(8.0),
        );
        row.goal("p99 over OpenBao's", row.ratio(NEO, BAO, |run| run.p99), Bound::AtMost(0.2));
        row.goal(
            "rate over the empty route's",
            row.ratio(NEO, FLOOR, |run| run.per_second),
            Bound::AtLeast(0.5),
        );
        Self::also(&mut row, &[UNAUDITED, APPLICATION]);
        self.profile(&mut row, self.appliance, &|| self.neo(connections, &reads))?;
        Ok(row)
    }

    /// A value, its audit event on the disk before it leaves.
    pub fn reveal(&self) -> Outcome {
        let values = |path: &String| format!("{path}/value");
        let paths = self.secrets.iter().map(values).collect();
        let reveals = Requests::Read { paths, headers: vec![self.admin()] };
        let path = neo::deploy(self.appliance, &self.claimed.admin, "secret-7");
        let bao = self.bao_reads(self.bao.header());
        let unaudited = self.bao_reads(self.unaudited.header());
        let function = format!(
            "{} warm invocations of a function that reads it, {} connections",
            invocations::COUNT,
            invocations::CALLERS
        );
        let series = self.alternate(&[
            (NEO, &|| self.neo(64, &reveals)),
            (BAO, &|| self.bao(self.bao, 64, &bao)),
            (UNAUDITED, &|| self.bao(self.unaudited, 64, &unaudited)),
            (&function, &|| invocations::run(self.appliance, &path, &self.claimed.admin)),
        ])?;
        let title = "Reveal a value of 32 bytes, 64 connections".to_owned();
        let mut row = Row::new("reveal", title, series);
        row.goal(
            "rate over OpenBao's read, which syncs nothing",
            row.ratio(NEO, BAO, |run| run.per_second),
            Bound::AtLeast(2.0),
        );
        Self::also(&mut row, &[UNAUDITED]);
        self.profile(&mut row, self.appliance, &|| self.neo(64, &reveals))?;
        Ok(row)
    }

    /// Durable creation.
    pub fn create(&self) -> Outcome {
        let creates = self.creates();
        let bao = Self::bao_creates(self.bao);
        let unaudited = Self::bao_creates(self.unaudited);
        let series = self.alternate(&[
            (NEO, &|| self.neo(64, &creates)),
            (BAO, &|| self.bao(self.bao, 64, &bao)),
            (UNAUDITED, &|| self.bao(self.unaudited, 64, &unaudited)),
            ("redb alone, 64 records a commit", &|| engine::run(&self.scratch, self.time)),
        ])?;
        let title = "Create a secret durably, 64 connections".to_owned();
        let mut row = Row::new("create", title, series);
        row.goal(
            "rate over OpenBao's write",
            row.ratio(NEO, BAO, |run| run.per_second),
            Bound::AtLeast(8.0),
        );
        row.goal(
            "p99 over OpenBao's",
            row.ratio(NEO, BAO, |run| run.p99),
            Bound::AtMost(1.0 / 3.0),
        );
        Self::also(&mut row, &[UNAUDITED]);
        self.profile(&mut row, self.appliance, &|| self.neo(64, &creates))?;
        Ok(row)
    }

    /// Nine reads to one creation, for `time`.
    pub fn mixed(&self, time: Duration) -> Outcome {
        let Requests::Create { path, header, body } = self.creates() else { unreachable!() };
        let requests = Requests::Mixed { paths: self.secrets.clone(), header, path, body };
        let (url, connections) = (self.appliance.url(), 16);
        let run = Load { url: &url, connections, time, requests: &requests }.run(&self.scratch)?;
        let series = vec![Series { contender: NEO.to_owned(), runs: vec![run] }];
        let title = format!("Nine reads to one creation, 16 connections, {} s", time.as_secs());
        let mut row = Row::new("mixed", title, series);
        row.goal("longest answer, ms", run.max, Bound::AtMost(100.0));
        self.profile(&mut row, self.appliance, &|| self.neo(connections, &requests))?;
        Ok(row)
    }

    /// Full handshakes with one request each.
    pub fn connections(&self) -> Outcome {
        let series = self.alternate(&[
            (NEO, &|| handshakes::run(self.appliance.addr, "/healthz", self.time)),
            (FLOOR, &|| handshakes::run(self.floor.addr, "/", self.time)),
        ])?;
        let title = "New connections, X25519MLKEM768, one request each, 8 at a time".to_owned();
        let mut row = Row::new("connections", title, series);
        row.goal(
            "rate over the empty route's",
            row.ratio(NEO, FLOOR, |run| run.per_second),
            Bound::AtLeast(0.8),
        );
        let connect = || handshakes::run(self.appliance.addr, "/healthz", self.time);
        self.profile(&mut row, self.appliance, &connect)?;
        Ok(row)
    }
}

/// A page of 20 from `count` secrets, beside a single read of the same store.
pub fn list(bench: &Bench<'_>, count: usize) -> Outcome {
    let home = neo::home();
    let appliance = home.start();
    let claimed = appliance.claim();
    let paths = neo::fill(&appliance, &claimed.admin, count, VALUE);
    let headers = vec![bearer(&claimed.admin)];
    let reads = Requests::Read { paths, headers: headers.clone() };
    let page = vec!["/v1/secrets?limit=20".to_owned()];
    let lists = Requests::Read { paths: page, headers: headers.clone() };
    // Together more secrets than the server keeps opened; it skips what stands before each.
    let page = |number| format!("/v1/secrets?limit=20&offset={}", number * 20);
    let others = Requests::Read { paths: (0..200).map(page).collect(), headers };
    let (list, read) = ("a page of 20", "a single read");
    let any = "one of the first 200 pages";
    let series = bench.alternate(&[
        (list, &|| bench.load(&appliance.url(), 16, &lists)),
        (read, &|| bench.load(&appliance.url(), 16, &reads)),
        (any, &|| bench.load(&appliance.url(), 16, &others)),
    ])?;
    let title = format!("List 20 of {count} secrets, 16 connections");
    let mut row = Row::new("list", title, series);
    row.goal("p99 over a single read's", row.ratio(list, read, |run| run.p99), Bound::AtMost(3.0));
    row.fact("p50 over a single read's", row.ratio(list, read, |run| run.p50));
    row.fact("p99 of one of the first 200 pages over it", row.ratio(any, read, |run| run.p99));
    row.fact("p50 of one of the first 200 pages over it", row.ratio(any, read, |run| run.p50));
    bench.profile(&mut row, &appliance, &|| bench.load(&appliance.url(), 16, &lists))?;
    Ok(row)
}

/// Evidence for nonces that the server has not seen, of a processor that makes two reports a second.
pub fn evidence(bench: &Bench<'_>) -> Outcome {
    let home = neo::home();
    home.relaunch(|settings| (settings.rate.requests_per_second, settings.rate.burst) = (2, 2));
    let appliance = home.start();
    let requests = Requests::Nonce { path: "/v1/attestation?nonce=NONCE".to_owned() };
    // Its rounds are longer: the wait for a report is a part of each answer.
    let (url, time) = (appliance.url(), bench.time * 3);
    let one =
        || Load { url: &url, connections: 1_000, time, requests: &requests }.run(&bench.scratch);
    let series = bench.alternate(&[(NEO, &one)])?;
    let title = "Evidence, 1,000 connections, two reports a second".to_owned();
    let mut row = Row::new("evidence", title, series);
    row.goal("documents a second", row.median(NEO, |run| run.per_second), Bound::AtLeast(1_500.0));
    row.goal("p99, ms", row.median(NEO, |run| run.p99), Bound::AtMost(1_200.0));
    bench.profile(&mut row, &appliance, &one)?;
    Ok(row)
}

/// Resident memory of a server with an empty, claimed store.
pub fn idle() -> Outcome {
    let home = neo::home();
    let appliance = home.start();
    appliance.claim();
    let memory = super::resident_mib(appliance.process_id());
    let title = "Memory with an empty store".to_owned();
    let mut row = Row::new("idle", title, Vec::new());
    row.goal("resident, MiB", memory, Bound::AtMost(40.0));
    Ok(row)
}
