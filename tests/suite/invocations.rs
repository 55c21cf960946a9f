//! Functions through the API, on real workers: what code reads, what contains it, and what its
//! callers are told.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use neo_secrets_attestation::ed25519::PublicKey;
use neo_secrets_attestation::receipt::{
    Expectations, Expected, FunctionId, Sha256Digest, SignedReceipt,
};
use neo_secrets_tests::appliance::{Appliance, CONFIG, Home, chip, program};
use neo_secrets_tests::http::{Answer, Connection};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use snp_simulator::Product;

const SAMPLE: &str = "async function main(context) { const apiKey = await \
                      context.secrets.get('api-key'); return { success: true }; }";

/// A connection with the key of an account.
struct Caller {
    connection: Connection,
    key: String,
}

impl Caller {
    fn new(appliance: &Appliance<'_>, key: &str) -> Self {
        Self { connection: appliance.connect(), key: key.to_owned() }
    }

    fn call(&mut self, method: &str, target: &str, body: Option<Value>) -> Answer {
        self.connection.call(method, target, &self.key, body.as_ref())
    }

    #[track_caller]
    fn done(&mut self, method: &str, target: &str, body: Value) -> Value {
        let answer = self.call(method, target, Some(body));
        assert!((200..300).contains(&answer.status), "{target}: {answer:?} {}", answer.json());
        answer.json()
    }

    fn secret(&mut self, name: &str, value: &str) -> String {
        let made = self.done("POST", "/v1/secrets", json!({"name": name, "value": value}));
        made["id"].as_str().unwrap().to_owned()
    }

    /// Creates a function with these fields, and gives its path.
    fn deploy(&mut self, name: &str, code: &str, mut fields: Value) -> String {
        fields["name"] = json!(name);
        fields["code"] = json!(code);
        let made = self.done("POST", "/v1/functions", fields);
        format!("/v1/functions/{}", made["id"].as_str().unwrap())
    }

    fn invoke(&mut self, function: &str, params: Value) -> Answer {
        self.call("POST", &format!("{function}/invoke"), Some(json!({"params": params})))
    }

    /// The result, which there has to be.
    #[track_caller]
    fn result(&mut self, function: &str, params: Value) -> Value {
        let answer = self.invoke(function, params);
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()["result"].clone()
    }

    /// The record of an execution, once it has one that has ended: the disk is not waited for by who
    /// invokes.
    fn record(&mut self, function: &str, execution: &str) -> Value {
        let target = format!("{function}/executions/{execution}");
        let started = Instant::now();
        loop {
            let answer = self.call("GET", &target, None);
            let ended = answer.status == 200 && answer.json()["execution"]["status"] != "running";
            if ended {
                return answer.json();
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{answer:?}");
        }
    }
}

/// The worker processes of this instance.
fn workers(appliance: &Appliance<'_>) -> Vec<Pid> {
    let own = appliance.process_id().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_child = |id: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)) == Some(own.as_str())
    };
    ids.filter(is_child).filter_map(Pid::from_raw).collect()
}

#[test]
fn a_function_reads_what_it_declares_and_sees_each_change() {
    let home = Home::usual();
    let appliance = home.start();
    let claimed = appliance.claim();
    let mut c = Caller::new(&appliance, &claimed.admin);
    let secret = c.secret("api-key", "one-value");
    c.secret("other", "x");
    let names = json!({"secrets": ["api-key", "gone"]});
    let sample = c.deploy("sample", SAMPLE, names.clone());
    assert_eq!(c.result(&sample, Value::Null), json!({"success": true}));
    let code = "async function main(c) {
        try { return await c.secrets.get(c.params); } catch (error) { return {name: error.name}; }
    }";
    let reads = c.deploy("reads", code, names);
    assert_eq!(c.result(&reads, json!("api-key")), "one-value");
    c.done("PUT", &format!("/v1/secrets/{secret}"), json!({"value": "another-value"}));
    assert_eq!(c.result(&reads, json!("api-key")), "another-value");
    let denied = json!({"name": "SecretAccessDenied"});
    let not_found = json!({"name": "SecretNotFound"});
    assert_eq!(c.result(&reads, json!("other")), denied);
    assert_eq!(c.result(&reads, json!("no name!")), denied);
    assert_eq!(c.result(&reads, json!("gone")), not_found);
    assert_eq!(c.call("DELETE", &format!("/v1/secrets/{secret}"), None).status, 200);
    assert_eq!(c.result(&reads, json!("api-key")), not_found);
    c.done("PUT", &format!("{reads}/secrets"), json!({"secrets": ["other"]}));
    assert_eq!(c.result(&reads, json!("other")), "x");
    // What each has read stands in the log, with the function as who did it.
    let log = c.call("GET", "/v1/audit-log?action=secret.read", None).json();
    let events = log["events"].as_array().unwrap();
    let read: Vec<_> = events.iter().map(|event| event["object"]["name"].clone()).collect();
    assert_eq!(read, ["other", "api-key", "api-key", "api-key"]);
    let id = reads.rsplit('/').next().unwrap();
    assert_eq!(
        (&events[0]["actor"]["type"], &events[0]["actor"]["id"]),
        (&json!("function"), &json!(id))
    );
}

#[test]
fn the_receipt_says_what_ran_and_what_it_was_given() {
    let home = Home::usual();
    let appliance = home.start();
    let claimed = appliance.claim();
    let mut c = Caller::new(&appliance, &claimed.admin);
    c.secret("b", "value-of-b");
    let a = c.secret("a", "value-of-a");
    c.done("PUT", &format!("/v1/secrets/{a}"), json!({"value": "second-of-a"}));
    let code = "async function main(c) {
        const all = await Promise.all(['b', 'a', 'b'].map(name => c.secrets.get(name)));
        console.log('read', all.join());
        return {all, n: 1.50, text: 'ä\\u2028'};
    }";
    let function = c.deploy("reads", code, json!({"secrets": ["a", "b", "unread"]}));
    // As it is sent, to the byte.
    let params = r#"{"z" : 1.0,  "ä":"\u00e4"}"#;
    let body = format!("{{ \"params\" : {params} }}");
    let headers = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", c.key);
    let target = format!("{function}/invoke");
    let answer = c.connection.send("POST", &target, &headers, Some(body.as_bytes()));
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.json();
    assert_eq!(told["logs"][0]["message"], "read [masked],[masked],[masked]");
    assert_eq!(told["result"]["all"], json!(["value-of-b", "second-of-a", "value-of-b"]));
    let secrets = json!([{"name": "a", "version": 2}, {"name": "b", "version": 1}]);
    assert_eq!(told["receipt"]["secretsRead"], secrets);
    assert_eq!(told["receipt"]["executionId"], told["execution"]["id"]);

    let nonce = "/v1/attestation?nonce=AAAAAAAAAAAAAAAAAAAAAA";
    let evidence = c.connection.call("GET", nonce, "", None).json();
    let claims = find(&evidence, "receiptKey").expect("the evidence names the receipt key");
    let receipt_key: PublicKey = claims.as_str().unwrap().parse().unwrap();
    let text = String::from_utf8(answer.body.clone()).unwrap();
    // The exact bytes of the result: all between its name and the next one.
    let result = text.split_once("\"result\":").unwrap().1.split_once(",\"logs\":").unwrap().0;
    let receipt = |told: &Value| SignedReceipt::parse(told["receipt"].to_string().as_bytes());
    let id: FunctionId = function.rsplit('/').next().unwrap().parse().unwrap();
    let expectations = Expectations {
        store_id: told["receipt"]["storeId"].as_str().unwrap().parse().unwrap(),
        function_id: Expected::Exactly(id),
        code_sha256: Expected::Exactly(Sha256Digest::of(code.as_bytes())),
        params_sha256: Expected::Exactly(Sha256Digest::of(params.as_bytes())),
        result_sha256: Expected::Exactly(Sha256Digest::of(result.as_bytes())),
    };
    receipt(&told).unwrap().verify(&receipt_key, &expectations).unwrap();

    // What is kept has the same receipt, and no value.
    let record = c.record(&function, told["execution"]["id"].as_str().unwrap());
    assert_eq!(record["receipt"], told["receipt"]);
    receipt(&record).unwrap().verify(&receipt_key, &expectations).unwrap();
    assert_eq!(record["result"]["all"], json!(["[masked]", "[masked]", "[masked]"]));
    assert_eq!(record["logs"], told["logs"]);
    assert!(!record.to_string().contains("value-of"), "{record}");
}

/// The first field of this name, however deep.
fn find<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    match value {
        Value::Object(fields) => {
            fields.get(name).or_else(|| fields.values().find_map(|value| find(value, name)))
        }
        Value::Array(items) => items.iter().find_map(|value| find(value, name)),
        _ => None,
    }
}

#[test]
fn each_end_is_told_and_recorded() {
    let home = Home::usual();
    let appliance = home.start();
    let claimed = appliance.claim();
    let mut c = Caller::new(&appliance, &claimed.admin);
    c.secret("api-key", "s3cr3t-value");
    let code = "async function main(c) {
        const value = await c.secrets.get('api-key');
        console.error(value, btoa('u:' + value));
        switch (c.params) {
            case 'throw': throw new TypeError(`no ${value}`);
            case 'loop': for (;;);
            case 'bomb': for (const all = [];;) all.push(new Array(9999).fill(1));
            case 'deep': { const f = () => f() + 1; return f(); }
            case 'log': for (let i = 0; i < 10240; i++) console.log('x'.repeat(1024)); return 1;
            default: return value;
        }
    }";
    let fields = json!({"secrets": ["api-key"], "timeout": 1, "memory": 32});
    let function = c.deploy("ends", code, fields);
    for (params, status, code, recorded) in [
        ("throw", 500, "EXECUTION_ERROR", "failed"),
        ("loop", 504, "EXECUTION_TIMEOUT", "timeout"),
        ("bomb", 400, "MEMORY_LIMIT_EXCEEDED", "memory-exceeded"),
        ("deep", 500, "EXECUTION_ERROR", "failed"),
    ] {
        let error = c.invoke(&function, json!(params)).error(status, code);
        let details = &error["details"];
        if params == "throw" {
            assert_eq!(
                (&details["name"], &details["message"]),
                (&json!("TypeError"), &json!("no [masked]"))
            );
            assert!(details["stack"].as_str().unwrap().contains("main (function.js:"), "{details}");
        }
        let record = c.record(&function, details["executionId"].as_str().unwrap());
        assert_eq!(record["execution"]["status"], recorded, "{record}");
        assert_eq!(record["logs"][0]["message"], "[masked] dTp[masked]U=", "{record}");
        assert!(!record.to_string().contains("s3cr3t"), "{record}");
        assert_eq!(c.result(&function, json!("")), "s3cr3t-value", "after {params}");
    }
    let answer = c.invoke(&function, json!("log"));
    assert_eq!(answer.status, 200);
    assert!((250_000..400_000).contains(&answer.body.len()), "{}", answer.body.len());
}

#[test]
fn what_never_rests_or_breaks_out_is_contained() {
    let home = Home::usual();
    let appliance = home.start();
    let claimed = appliance.claim();
    let mut c = Caller::new(&appliance, &claimed.admin);
    let loops = [
        "for (;;);",
        "for (;;) await null;",
        "/^(a+)+$/.test('a'.repeat(60) + '!');",
        "({ get x() { for (;;); } }).x;",
        "JSON.parse('[1]', () => { for (;;); });",
        "const n = 3n ** 300000n; for (;;) n * n % (n - 1n);",
        "await new Promise(() => setTimeout(() => {}, 60000));",
    ];
    for (number, body) in loops.iter().enumerate() {
        let code = format!("async function main(c) {{ if (c.params) {{ {body} }} return 7; }}");
        let function = c.deploy(&format!("loop-{number}"), &code, json!({"timeout": 1}));
        c.invoke(&function, json!(1)).error(504, "EXECUTION_TIMEOUT");
        assert_eq!(c.result(&function, json!(0)), 7, "{body}");
    }
    let code = "Object.prototype.seen = (globalThis.count ??= 0) + 1; JSON.stringify = null;
        async function main(c) {
            globalThis.count++;
            const tries = [
                () => import('fs'), () => import('/proc/self/environ'), () => require('fs'),
                () => process.env, () => fetch('file:///proc/self/environ'),
                () => fetch('https://127.0.0.1/'), () => c.secrets.get('other'),
                () => eval('c.secrets.get(\"other\")'), () => new Function('return process')(),
                () => c.secrets.get.call({account: 'acc_x'}, 'other'),
            ];
            const got = [];
            for (const attempt of tries) try { got.push(String(await attempt())); } catch { }
            return {got, seen: ({}).seen, globals: Object.getOwnPropertyNames(globalThis)
                .filter(name => /^(process|require|std|os|Deno|bjson)$/.test(name))};
        }";
    c.secret("other", "of-nobody");
    let function = c.deploy("tries", code, json!({}));
    for _ in 0..2 {
        let expected = json!({"got": [], "seen": 1, "globals": []});
        assert_eq!(c.result(&function, Value::Null), expected);
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let body = format!("{{\"params\":{deep}}}");
    let headers = format!("Authorization: Bearer {}\r\nContent-Type: application/json\r\n", c.key);
    let target = format!("{function}/invoke");
    let answer = c.connection.send("POST", &target, &headers, Some(body.as_bytes()));
    let error = answer.error(500, "EXECUTION_ERROR");
    assert_eq!(error["details"]["name"], "RangeError");
    assert_eq!(c.result(&function, Value::Null)["seen"], 1);
}

#[test]
fn a_killed_worker_costs_one_invocation() {
    let home = Home::usual();
    let appliance = home.start();
    let claimed = appliance.claim();
    let mut c = Caller::new(&appliance, &claimed.admin);
    let code = "async function main(c) { if (c.params) for (;;); return 7; }";
    let function = c.deploy("loops", code, json!({"timeout": 60}));
    assert_eq!(c.result(&function, json!(0)), 7);
    let mut other = Caller::new(&appliance, &claimed.admin);
    let target = function.clone();
    std::thread::scope(|scope| {
        let running = scope.spawn(move || other.invoke(&target, json!(1)));
        let metric = "neo_secrets_function_invocations_running 1\n";
        while !metrics(&appliance, &claimed.owner).contains(metric) {}
        for worker in workers(&appliance) {
            kill_process(worker, Signal::KILL).unwrap();
        }
        let error = running.join().unwrap().error(500, "EXECUTION_ERROR");
        assert_eq!(error["details"]["name"], "WorkerLost");
    });
    assert_eq!(c.result(&function, json!(0)), 7);
    assert!(home.log().contains("a function's worker has ended by itself"), "{}", home.log());
    let scrape = metrics(&appliance, &claimed.owner);
    let lost = "neo_secrets_function_invocations_total{outcome=\"worker-lost\"} 1\n";
    assert!(scrape.contains(lost), "{scrape}");
    // No worker outlives the server, however that ends: neither one that waits nor one whose code
    // never rests.
    let endless = json!({"params": 1, "async": true});
    c.done("POST", &format!("{function}/invoke"), endless);
    let metric = "neo_secrets_function_invocations_running 1\n";
    while !metrics(&appliance, &claimed.owner).contains(metric) {}
    while workers(&appliance).len() < 2 {}
    let left = workers(&appliance);
    appliance.kill();
    let gone = |id: &Pid| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", id.as_raw_nonzero()));
        stat.is_ok_and(|stat| !stat.contains(") Z"))
    };
    while left.iter().any(gone) {}
}

#[test]
fn idle_functions_keep_no_workers() {
    let limits = "[limits]\nloaded_workers = 3\nwarm_workers = 1\n";
    let home = Home::new(&chip(Product::Genoa), &format!("{CONFIG}{limits}"));
    let appliance = home.start();
    let claimed = appliance.claim();
    let mut c = Caller::new(&appliance, &claimed.admin);
    for index in 0..100 {
        let code = format!("async function main() {{ return {index}; }}");
        let function = c.deploy(&format!("idle-{index}"), &code, json!({}));
        assert_eq!(c.result(&function, Value::Null), index);
    }
    // Those that go do so beside the calls.
    while workers(&appliance).len() > 4 {}
    let scrape = metrics(&appliance, &claimed.owner);
    let loaded = "neo_secrets_function_workers{state=\"loaded\"} 3\n";
    assert!(scrape.contains(loaded), "{scrape}");
}

fn metrics(appliance: &Appliance<'_>, owner: &str) -> String {
    let answer = appliance.connect().call("GET", "/metrics", owner, None);
    String::from_utf8(answer.body).unwrap()
}

#[test]
fn an_asynchronous_execution_survives_its_connection_and_is_lost_with_the_server() {
    let home = Home::usual();
    let appliance = home.start();
    let claimed = appliance.claim();
    let mut c = Caller::new(&appliance, &claimed.admin);
    let code = "async function main(c) {
        if (c.params < 0) for (;;);
        await new Promise(done => setTimeout(done, c.params));
        return c.params;
    }";
    let function = c.deploy("waits", code, json!({"timeout": 300}));
    let begin = |appliance: &Appliance<'_>, params: i64| {
        let mut caller = Caller::new(appliance, &claimed.admin);
        let body = json!({"params": params, "async": true});
        let answer = caller.call("POST", &format!("{function}/invoke"), Some(body));
        assert_eq!(answer.status, 202, "{answer:?}");
        let execution = answer.json()["execution"].clone();
        assert_eq!(execution["status"], "running");
        let id = execution["id"].as_str().unwrap().to_owned();
        assert_eq!(answer.header("location"), Some(&*format!("{function}/executions/{id}")));
        id
    };
    let id = begin(&appliance, 300);
    let record = c.record(&function, &id);
    assert_eq!(
        (&record["execution"]["status"], &record["result"]),
        (&json!("completed"), &json!(300))
    );
    assert_eq!(record["receipt"]["executionId"], json!(id));

    // A stop cuts what goes on; what ends in time is kept.
    let (endless, short) = (begin(&appliance, -1), begin(&appliance, 500));
    let begun = Instant::now();
    assert!(appliance.terminate().success());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(home.log().contains("functions were cut off"), "{}", home.log());
    let appliance = home.start();
    let mut c = Caller::new(&appliance, &claimed.admin);
    assert_eq!(c.record(&function, &endless)["execution"]["status"], "lost");
    assert_eq!(c.record(&function, &short)["execution"]["status"], "completed");
    // So does a kill.
    let cut = begin(&appliance, -1);
    appliance.kill();
    let appliance = home.start();
    let mut c = Caller::new(&appliance, &claimed.admin);
    assert_eq!(c.record(&function, &cut)["execution"]["status"], "lost");
}

#[test]
fn what_waits_for_its_turn_does_not_run_once_its_key_is_revoked() {
    let config = format!("{CONFIG}[limits]\nconcurrent_invocations = 4\nqueued_invocations = 4\n");
    let home = Home::new(&chip(Product::Genoa), &config);
    let appliance = home.start();
    let claimed = appliance.claim();
    let mut c = Caller::new(&appliance, &claimed.admin);
    let loops = c.deploy("loops", "async function main() { for (;;); }", json!({"timeout": 5}));
    let quick = c.deploy("quick", "async function main() { return 7; }", json!({}));
    let key = c.done("POST", "/v1/api-keys", json!({"name": "k", "permissions": ["execute"]}));
    let mut invoker = Caller::new(&appliance, key["key"].as_str().unwrap());
    let begin = |caller: &mut Caller, function: &str| {
        let begun = caller.done("POST", &format!("{function}/invoke"), json!({"async": true}));
        begun["execution"]["id"].as_str().unwrap().to_owned()
    };
    // Half of the turns are what one account has.
    for _ in 0..2 {
        begin(&mut c, &loops);
    }
    let (waits, by_another) = (begin(&mut invoker, &quick), begin(&mut c, &quick));
    let id = key["id"].as_str().unwrap();
    assert_eq!(c.call("DELETE", &format!("/v1/api-keys/{id}"), None).status, 200);
    let record = c.record(&quick, &waits);
    assert_eq!(record["execution"]["status"], "failed", "{record}");
    let message = "The key that invoked the function is not valid any more.";
    assert_eq!(record["error"], json!({"name": "KeyRevoked", "message": message, "stack": ""}));
    assert_eq!(c.record(&quick, &by_another)["execution"]["status"], "completed");
}

#[test]
fn one_account_leaves_room_for_another_and_is_told_when_it_has_its_share() {
    let config = format!("{CONFIG}[limits]\nconcurrent_invocations = 4\nqueued_invocations = 4\n");
    let home = Home::new(&chip(Product::Genoa), &config);
    let appliance = home.start();
    let claimed = appliance.claim();
    let mut c = appliance.connect();
    let made = c.call("POST", "/v1/accounts", &claimed.owner, Some(&json!({"name": "b"})));
    let mut other = Caller::new(&appliance, made.json()["adminKey"].as_str().unwrap());
    let mut greedy = Caller::new(&appliance, &claimed.admin);
    let code = "async function main(c) { if (c.params) for (;;); return 7; }";
    let mine = greedy.deploy("loops", code, json!({"timeout": 60}));
    let theirs = other.deploy("quick", code, json!({}));
    let mut accepted = BTreeSet::new();
    let refused = loop {
        let body = json!({"params": 1, "async": true});
        let answer = greedy.call("POST", &format!("{mine}/invoke"), Some(body));
        match answer.status {
            202 => accepted.insert(answer.json()["execution"]["id"].to_string()),
            _ => break answer,
        };
        assert!(accepted.len() < 10, "it may have half of the turns and half of the queue");
    };
    refused.error(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(accepted.len(), 4);
    for _ in 0..5 {
        assert_eq!(other.result(&theirs, json!(0)), 7);
    }
    let scrape = metrics(&appliance, &claimed.owner);
    assert!(scrape.contains("neo_secrets_function_invocations_running 2\n"), "{scrape}");
    assert!(scrape.contains("neo_secrets_function_invocations_waiting 2\n"), "{scrape}");
}

#[test]
fn the_server_answers_as_ever_beside_code_that_never_rests() {
    let home = Home::usual();
    let appliance = home.start();
    let claimed = appliance.claim();
    let mut c = Caller::new(&appliance, &claimed.admin);
    let code = "async function main() { for (;;); }";
    let function = c.deploy("loops", code, json!({"timeout": 60}));
    let median = || {
        let mut connection = appliance.connect();
        let mut times: Vec<_> = (0..200)
            .map(|_| {
                let started = Instant::now();
                assert_eq!(connection.call("GET", "/healthz", "", None).status, 200);
                started.elapsed()
            })
            .collect();
        times.sort();
        times[times.len() / 2]
    };
    let before = median();
    for _ in 0..2 {
        let answer = c.call("POST", &format!("{function}/invoke"), Some(json!({"async": true})));
        assert_eq!(answer.status, 202);
    }
    let metric = "neo_secrets_function_workers{state=\"running\"} 2\n";
    while !metrics(&appliance, &claimed.owner).contains(metric) {}
    let beside = median();
    let most = before * 10 + Duration::from_millis(5);
    assert!(beside < most, "{before:?} alone, {beside:?} beside two endless loops");
}

#[test]
fn code_is_looked_at_before_it_is_kept() {
    let home = Home::usual();
    let appliance = home.start();
    let claimed = appliance.claim();
    let mut c = Caller::new(&appliance, &claimed.admin);
    let body = json!({"name": "wrong", "code": "async function main() {\n  let let;\n}"});
    let error = c.call("POST", "/v1/functions", Some(body)).error(400, "FUNCTION_COMPILE_ERROR");
    assert_eq!(error["details"]["line"], 2, "{error}");
    assert!(error["details"]["column"].is_u64(), "{error}");
    let function = c.deploy("right", "async function main() { return 1; }", json!({}));
    let error = c.call("PUT", &function, Some(json!({"code": "("})));
    error.error(400, "FUNCTION_COMPILE_ERROR");
    assert_eq!(c.result(&function, Value::Null), 1, "the code that was there still is");
    let target = format!("{function}/invoke");
    c.call("POST", &target, Some(json!({"parameters": 1}))).invalid("parameters");
    c.call("POST", &target, Some(json!({"async": "yes"}))).invalid("async");
    let body = json!({"name": "k", "permissions": ["read", "write", "reveal"]});
    let key = c.done("POST", "/v1/api-keys", body)["key"].as_str().unwrap().to_owned();
    let refused = Caller::new(&appliance, &key).invoke(&function, Value::Null);
    assert!(refused.error(403, "FORBIDDEN")["message"].as_str().unwrap().contains("execute"));
}

#[test]
fn without_a_worker_functions_alone_are_unavailable() {
    let home = Home::usual();
    // A server that lies alone in its folder.
    let folder = home.path("bin");
    std::fs::create_dir(&folder).unwrap();
    let server = folder.join("neo-secretsd-simulated");
    std::fs::copy(program("neo-secretsd-simulated"), &server).unwrap();
    let appliance = home.start_program(&server, &[]);
    appliance.state();
    let claimed = appliance.claim();
    let mut c = Caller::new(&appliance, &claimed.admin);
    c.secret("api-key", "x");
    let body = json!({"name": "f", "code": SAMPLE});
    let error = c.call("POST", "/v1/functions", Some(body.clone()));
    error.error(503, "SERVICE_UNAVAILABLE");
    let told = "no function runs: its worker does not start";
    assert_eq!(home.log().matches(told).count(), 1, "{}", home.log());
    assert_eq!(c.call("GET", "/v1/secrets", None).status, 200);
    std::fs::copy(program("neo-secrets-worker"), folder.join("neo-secrets-worker")).unwrap();
    assert_eq!(c.call("POST", "/v1/functions", Some(body)).status, 201);
    assert!(home.log().contains("function workers start again"), "{}", home.log());
}

#[test]
fn what_waits_for_its_turn_begins_as_its_function_stands_then() {
    let home = Home::new(
        &chip(Product::Genoa),
        &format!("{CONFIG}[limits]\nconcurrent_invocations = 2\n"),
    );
    let appliance = home.start();
    let claimed = appliance.claim();
    let mut c = Caller::new(&appliance, &claimed.admin);
    c.secret("key", "v");
    // Keeps the account's only turn until there is a secret of that name.
    let waits = "async function main(c) { for (;;) {
        try { return await c.secrets.get('go'); } catch { await new Promise((on) => setTimeout(on, 20)); }
    } }";
    let holder = c.deploy("holder", waits, json!({"secrets": ["go"], "timeout": 300}));
    let begin = |c: &mut Caller, function: &str| {
        let begun = c.done("POST", &format!("{function}/invoke"), json!({"async": true}));
        begun["execution"]["id"].as_str().unwrap().to_owned()
    };
    let code = "async function main(c) { return [await c.secrets.get('key'), c.environment]; }";
    let fields = || json!({"secrets": ["key"], "environment": {"to": "old"}});
    let (changed, deleted) = (c.deploy("a", code, fields()), c.deploy("b", code, fields()));
    let held = begin(&mut c, &holder);
    let running = "neo_secrets_function_invocations_running 1\n";
    while !metrics(&appliance, &claimed.owner).contains(running) {}

    let (of_changed, of_deleted) = (begin(&mut c, &changed), begin(&mut c, &deleted));
    c.done("PUT", &changed, json!({"environment": {"to": "new"}}));
    assert_eq!(c.call("DELETE", &deleted, None).status, 200);
    c.secret("go", "on");

    assert_eq!(c.record(&holder, &held)["result"], "on");
    let record = c.record(&changed, &of_changed);
    assert_eq!(record["result"], json!(["v", {"to": "new"}]), "{record}");
    let gone = c.call("GET", &format!("{deleted}/executions/{of_deleted}"), None);
    gone.error(404, "NOT_FOUND");
    // And it did not run: the two that ended are the holder and the changed one.
    let completed = "neo_secrets_function_invocations_total{outcome=\"completed\"} 2\n";
    let scrape = metrics(&appliance, &claimed.owner);
    assert!(scrape.contains(completed), "{scrape}");
    assert!(scrape.contains("neo_secrets_function_invocations_running 0\n"), "{scrape}");
}
