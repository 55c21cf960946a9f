//! `GET /metrics` and the JSON log: what moves, who may look, and what never stands there.

use std::collections::{BTreeMap, BTreeSet};

use neo_secrets_tests::appliance::Home;
use neo_secrets_tests::http::Connection;
use serde_json::{Value, json};

const REQUESTS: &str = "neo_secrets_http_requests_total";
const NONCE: &str = "/v1/attestation?nonce=AAAAAAAAAAAAAAAAAAAAAA";

/// Each series, as it is written, and its number.
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    fn of(connection: &mut Connection, owner: &str) -> (Scrape, String) {
        let answer = connection.call("GET", "/metrics", owner, None);
        assert_eq!(answer.status, 200);
        let content_type = "text/plain; version=0.0.4; charset=utf-8";
        assert_eq!(answer.header("content-type"), Some(content_type));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let text = String::from_utf8(answer.body).unwrap();
        (Scrape(parse(&text)), text)
    }

    /// A series that has to be there.
    #[track_caller]
    fn number(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("no {series}"))
    }

    /// How much a series has risen; from nothing, where it was not there.
    #[track_caller]
    fn rise(&self, before: &Scrape, series: &str) -> f64 {
        self.number(series) - before.0.get(series).copied().unwrap_or_default()
    }
}

fn requests(route: &str, method: &str, status: &str) -> String {
    format!("{REQUESTS}{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}}")
}

/// Parses the text format 0.0.4, and knows no mercy: families once, each with help and a known
/// type, whole histograms, no series twice.
fn parse(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'));
    let mut series = BTreeMap::new();
    let mut families: BTreeMap<&str, &str> = BTreeMap::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let (name, help) = line.strip_prefix("# HELP ").unwrap().split_once(' ').unwrap();
        assert!(is_name(name) && !help.is_empty() && !help.contains('\\'), "{line}");
        let kind = lines.next().unwrap().strip_prefix("# TYPE ").unwrap();
        let kind = kind.strip_prefix(name).unwrap().strip_prefix(' ').unwrap();
        assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        assert!(families.insert(name, kind).is_none(), "{name} twice");
        let mut samples = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (key, number) = line.rsplit_once(' ').unwrap();
            let number: f64 = number.parse().unwrap();
            assert!(number.is_finite() && number >= 0.0, "{line}");
            let (sample, labels) = match key.split_once('{') {
                Some((sample, labels)) => (sample, labels.strip_suffix('}').unwrap()),
                None => (key, ""),
            };
            let suffix = sample.strip_prefix(name).unwrap();
            let labels: Vec<_> = labels.split_terminator(',').map(label).collect();
            let names: BTreeSet<_> = labels.iter().map(|(name, _)| name).collect();
            assert_eq!(names.len(), labels.len(), "{line}");
            assert!(series.insert(key.to_owned(), number).is_none(), "{key} twice");
            samples.push((suffix, labels, number));
        }
        match kind {
            "histogram" => check_histograms(name, &samples),
            _ => assert!(samples.iter().all(|(suffix, ..)| suffix.is_empty()), "{name}"),
        }
    }
    series
}

type Labels<'t> = Vec<(&'t str, &'t str)>;

fn check_histograms(name: &str, mut samples: &[(&str, Labels<'_>, f64)]) {
    assert!(!samples.is_empty(), "{name}");
    while let Some((_, labels, _)) = samples.first() {
        let own = &labels[..labels.len() - 1];
        let (mut bound, mut count) = (f64::NEG_INFINITY, 0.0);
        while let [("_bucket", labels, number), rest @ ..] = samples {
            let (("le", le), others) = labels.split_last().unwrap() else { panic!("{labels:?}") };
            assert_eq!(others, own, "{name}");
            let le: f64 = if *le == "+Inf" { f64::INFINITY } else { le.parse().unwrap() };
            assert!(le > bound && *number >= count, "{name}: {samples:?}");
            (bound, count, samples) = (le, *number, rest);
            if le.is_infinite() {
                break;
            }
        }
        let [("_sum", sum, total), ("_count", counted, all), rest @ ..] = samples else {
            panic!("{name}: {samples:?}")
        };
        assert!(bound.is_infinite() && sum == own && counted == own, "{name}");
        assert!(*all == count && (count > 0.0 || *total == 0.0), "{name}");
        samples = rest;
    }
}

fn label(text: &str) -> (&str, &str) {
    let (name, value) = text.split_once("=\"").unwrap();
    let value = value.strip_suffix('"').unwrap();
    assert!(is_name(name) && !value.contains(['"', '\\', '=']), "{text}");
    (name, value)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[test]
fn only_the_owner_reads_them_and_only_while_serving() {
    let home = Home::usual();
    let appliance = home.start();
    let mut c = appliance.connect();
    let get = |c: &mut Connection, key: &str| c.call("GET", "/metrics", key, None);
    get(&mut c, "").error(503, "SERVICE_UNAVAILABLE");
    let claimed = appliance.claim();
    get(&mut c, "").error(401, "UNAUTHORIZED");
    get(&mut c, &format!("neo_{}", "A".repeat(43))).error(401, "UNAUTHORIZED");
    let refused = get(&mut c, &claimed.admin).error(403, "FORBIDDEN");
    assert!(refused["message"].as_str().unwrap().contains("owner's key"), "{refused}");
    assert_eq!(get(&mut c, &claimed.owner).status, 200);
    c.call("GET", "/metrics?x=1", &claimed.owner, None).invalid("x");
    c.call("POST", "/metrics", &claimed.owner, None).error(405, "METHOD_NOT_ALLOWED");
}

#[test]
fn they_move_by_what_was_called() {
    let home = Home::usual();
    let appliance = home.start();
    let claimed = appliance.claim();
    let (owner, admin) = (claimed.owner.as_str(), claimed.admin.as_str());
    let mut c = appliance.connect();
    let (before, _) = Scrape::of(&mut c, owner);
    let body = json!({"name": "a", "value": "x"});
    let made = c.call("POST", "/v1/secrets", admin, Some(&body));
    assert_eq!(made.status, 201);
    c.call("POST", "/v1/secrets", admin, Some(&body)).error(409, "CONFLICT");
    c.call("BREW", "/v1/secrets", admin, None).error(405, "METHOD_NOT_ALLOWED");
    c.call("GET", "/v1/secrets", "", None).error(401, "UNAUTHORIZED");
    let target = format!("/v1/secrets/{}", made.json()["id"].as_str().unwrap());
    assert_eq!(c.call("GET", &target, admin, None).status, 200);
    c.call("GET", "/nowhere", admin, None).error(404, "NOT_FOUND");
    assert_eq!(c.call("GET", NONCE, "", None).status, 200);
    let (after, _) = Scrape::of(&mut c, owner);

    let times = |route: &str| {
        format!("neo_secrets_http_request_duration_seconds_count{{route=\"{route}\"}}")
    };
    for (series, rise) in [
        (requests("/v1/secrets", "POST", "2xx"), 1.0),
        (requests("/v1/secrets", "POST", "4xx"), 1.0),
        (requests("/v1/secrets", "POST", "5xx"), 0.0),
        (requests("/v1/secrets", "GET", "2xx"), 0.0),
        (requests("/v1/secrets", "GET", "4xx"), 1.0),
        (requests("/v1/secrets", "other", "4xx"), 1.0),
        (requests("/v1/secrets/{id}", "GET", "2xx"), 1.0),
        (requests("/v1/attestation", "GET", "2xx"), 1.0),
        (requests("/metrics", "GET", "2xx"), 1.0),
        (requests("none", "GET", "4xx"), 1.0),
        (times("/v1/secrets"), 4.0),
        (times("/v1/secrets/{id}"), 1.0),
        (times("/v1/claim"), 0.0),
        (times("none"), 1.0),
        ("neo_secrets_authentication_failures_total".into(), 1.0),
        // A refused write commits nothing.
        ("neo_secrets_store_commit_writes_count".into(), 1.0),
        ("neo_secrets_store_commit_writes_sum".into(), 1.0),
        ("neo_secrets_store_commit_duration_seconds_count".into(), 1.0),
        ("neo_secrets_evidence_batch_callers_count".into(), 1.0),
        ("neo_secrets_evidence_batch_callers_sum".into(), 1.0),
        ("neo_secrets_processor_calls_total{call=\"report\",outcome=\"ok\"}".into(), 1.0),
        ("neo_secrets_processor_calls_total{call=\"report\",outcome=\"lost\"}".into(), 0.0),
        ("neo_secrets_processor_call_duration_seconds_count{call=\"report\"}".into(), 1.0),
        ("neo_secrets_processor_calls_total{call=\"key\",outcome=\"ok\"}".into(), 0.0),
    ] {
        assert_eq!(after.rise(&before, &series), rise, "{series}");
    }
    for series in [
        "neo_secrets_store_commit_duration_seconds_sum",
        "neo_secrets_processor_call_duration_seconds_sum{call=\"report\"}",
        "neo_secrets_http_request_duration_seconds_sum{route=\"/v1/secrets\"}",
    ] {
        assert!(after.rise(&before, series) > 0.0, "{series}");
    }
    assert_eq!(after.number("neo_secrets_processor_calls_total{call=\"key\",outcome=\"ok\"}"), 1.0);
}

#[test]
fn phase_start_and_connections_are_those_of_now() {
    let second = || time::OffsetDateTime::now_utc().unix_timestamp() as f64;
    let earliest = second();
    let home = Home::usual();
    let appliance = home.start();
    let owner = appliance.claim().owner;
    let mut c = appliance.connect();
    let (scrape, _) = Scrape::of(&mut c, &owner);
    for phase in ["starting", "sealed", "unclaimed", "serving", "draining"] {
        let series = format!("neo_secrets_phase{{phase=\"{phase}\"}}");
        assert_eq!(scrape.number(&series), f64::from(u8::from(phase == "serving")), "{phase}");
    }
    let started = scrape.number("process_start_time_seconds");
    assert!((earliest..=second() + 1.0).contains(&started), "{started}");
    // That of the claim may not have ended yet; nothing but such an end is waited for.
    let mut open = || Scrape::of(&mut c, &owner).0.number("neo_secrets_open_connections");
    assert!((0..10_000).any(|_| open() == 1.0));
    let mut others: Vec<_> = (0..3).map(|_| appliance.connect()).collect();
    for other in &mut others {
        assert_eq!(other.call("GET", "/healthz", "", None).status, 200);
    }
    assert_eq!(open(), 4.0);
    drop(others);
    assert!((0..10_000).any(|_| open() == 1.0));
}

/// What a caller has sent or been given, and nobody else may read.
struct Traces {
    needles: Vec<String>,
    made: String,
}

fn leave_traces(c: &mut Connection, admin: &str, owner: &str) -> Traces {
    let body = json!({"name": "a-name-to-find", "value": "a-value-to-find",
        "description": "a-description-to-find", "tags": {"a-tag-to-find": "x"}});
    let made = c.call("POST", "/v1/secrets", admin, Some(&body)).json()["id"].to_string();
    let new = json!({"name": "a-key-name-to-find", "permissions": ["read"]});
    let key = c.call("POST", "/v1/api-keys", admin, Some(&new)).json();
    for target in ["/a-path-to-find", "/v1/secrets/an-id-to-find", "/v1/secrets?a-query-to-find=1"]
    {
        assert!(c.call("GET", target, admin, None).status >= 400);
    }
    c.call("AMETHODTOFIND", "/v1/secrets", admin, None).error(405, "METHOD_NOT_ALLOWED");
    let wrong = format!("neo_{}", "E".repeat(43));
    c.call("GET", "/v1/secrets", &wrong, None).error(401, "UNAUTHORIZED");
    let keys = [admin, owner, &wrong, key["key"].as_str().unwrap()].map(str::to_owned);
    let mut needles = keys.to_vec();
    needles.extend(["to-find".to_owned(), "AMETHODTOFIND".to_owned()]);
    Traces { needles, made: made.trim_matches('"').to_owned() }
}

#[test]
fn no_name_id_or_key_is_in_the_metrics() {
    let home = Home::usual();
    let appliance = home.start();
    let claimed = appliance.claim();
    let mut c = appliance.connect();
    let (before, _) = Scrape::of(&mut c, &claimed.owner);
    let traces = leave_traces(&mut c, &claimed.admin, &claimed.owner);
    let (after, text) = Scrape::of(&mut c, &claimed.owner);
    let answer = &claimed.answer;
    let ids = [&answer["storeId"], &answer["instanceKey"], &answer["account"]["id"]];
    let ids = ids.map(|id| id.as_str().unwrap().to_owned());
    let forms = ["sec_", "key_", "acc_", "neo_A", "req_", "127.0.0.1"].map(str::to_owned);
    for needle in traces.needles.iter().chain(&ids).chain(&forms).chain([&traces.made]) {
        assert!(!text.contains(needle.as_str()), "{needle} is in\n{text}");
    }
    // Nor do callers make series, beyond those of a known route, method and status.
    let new: Vec<_> = after.0.keys().filter(|series| !before.0.contains_key(*series)).collect();
    let expected = [requests("/v1/secrets", "other", "4xx"), requests("none", "GET", "4xx")];
    assert_eq!(new, expected.iter().collect::<Vec<_>>());
}

#[test]
fn a_json_log_has_the_fields_of_the_text_and_no_more() {
    let lines = |arguments: &[&str]| {
        let home = Home::usual();
        let appliance = home.start_with(arguments);
        let claimed = appliance.claim();
        let mut c = appliance.connect();
        let traces = leave_traces(&mut c, &claimed.admin, &claimed.owner);
        let given = "X-Request-ID: q\"uo\\te\r\n";
        assert_eq!(c.send("GET", "/healthz", given, None).status, 200);
        assert!(appliance.terminate().success());
        // The simulator's warning comes before the log.
        let log: Vec<_> =
            home.log().lines().filter(|line| !line.starts_with('*')).map(str::to_owned).collect();
        for needle in &traces.needles {
            assert!(log.iter().all(|line| !line.contains(needle.as_str())), "{needle}: {log:#?}");
        }
        // Another thread's line may come before the one of the last call, which was answered before.
        let (calls, others): (Vec<_>, Vec<_>) = log
            .into_iter()
            .partition(|line| line.contains(" request=") || line.contains("\"request\":"));
        ([calls, others].concat(), traces.made)
    };
    let (text, _) = lines(&["--log", "text"]);
    let (log, made) = lines(&["--log", "json"]);
    assert_eq!(text.len(), log.len(), "{text:#?}\n{log:#?}");
    let mut requests = Vec::new();
    for (line, text) in log.iter().zip(&text) {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let line = line.as_object().unwrap();
        let (time, level) = (line["timestamp"].as_str().unwrap(), line["level"].as_str().unwrap());
        let form = &time::format_description::well_known::Rfc3339;
        assert!(time::OffsetDateTime::parse(time, form).is_ok(), "{time}");
        assert_eq!(text.split_whitespace().nth(1), Some(level));
        for field in
            line.keys().filter(|f| !["timestamp", "level", "message"].contains(&f.as_str()))
        {
            assert!(text.contains(&format!(" {field}=")), "{field} is not in {text}");
        }
        let names = text.split(' ').filter_map(|word| word.split_once('='));
        assert!(names.map(|(name, _)| name).all(|name| line.contains_key(name)), "{text}");
        requests.extend(line.contains_key("request").then(|| line.clone()));
    }
    let created = requests.iter().find(|line| line.get("object") == Some(&json!(made))).unwrap();
    assert_eq!((&created["route"], &created["method"]), (&json!("/v1/secrets"), &json!("POST")));
    assert_eq!(created["status"], 201);
    assert!(created["ms"].is_u64() && created["key"].as_str().unwrap().starts_with("key_"));
    assert!(requests.iter().any(|line| line["request"] == "q\"uo\\te"), "{requests:#?}");
    let code = Some(&json!("UNAUTHORIZED"));
    let refused = requests.iter().find(|line| line.get("code") == code).unwrap();
    assert_eq!((&refused["route"], &refused["status"]), (&json!("/v1/secrets"), &json!(401)));
}

#[test]
fn a_log_format_that_there_is_not_is_refused() {
    let home = Home::usual();
    let output = home.command().args(["--log", "xml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("--log \"xml\": must be text or json"), "{message}");
}
