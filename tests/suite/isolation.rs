//! What is another account's: every keyed call of `server/openapi.json` by every kind of key, with
//! the ids, names and tags of an account that it must not reach. The answer is the one for what there is
//! not, nothing changes, and nothing of that account is heard. A new call fails here until it is
//! said what its request looks like.

use std::collections::BTreeSet;

use neo_secrets_tests::appliance::{CONFIG, Home, chip};
use neo_secrets_tests::http::{Answer, Connection};
use serde_json::{Value, json};
use snp_simulator::Product;

use crate::callers::lasting;

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];

fn text(body: &Value, field: &str) -> String {
    body[field].as_str().unwrap_or_else(|| panic!("no {field} in {body}")).to_owned()
}

/// One method of one path that asks for a key.
struct Operation {
    id: String,
    method: String,
    template: String,
    permission: String,
}

/// The document's keyed operations, and all its paths that have some.
fn operations() -> (Vec<Operation>, BTreeSet<String>) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/openapi.json");
    let document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut operations = Vec::new();
    for (template, path) in document["paths"].as_object().unwrap() {
        for (method, object) in path.as_object().unwrap() {
            let Some(id) = object["operationId"].as_str() else { continue };
            let permission = text(object, "x-permission");
            if permission != "none" {
                let (template, method) = (template.clone(), method.to_ascii_uppercase());
                operations.push(Operation { id: id.to_owned(), method, template, permission });
            }
        }
    }
    let templates = operations.iter().map(|operation| operation.template.clone()).collect();
    (operations, templates)
}

/// A request but for its path's id: query, header lines, body.
type Request = (&'static str, &'static str, Option<Value>);

/// The requests that are tried, each of which would succeed or say more, were the object the
/// caller's.
///
/// # Panics
/// For a call that nobody has decided about.
fn requests(operation: &str) -> Vec<Request> {
    let plain = || vec![("", "", None)];
    let body = |body: Value| vec![("", "", Some(body))];
    // The tag that it has, one that it has not, and any: never 412.
    let tagged = |bodies: &[Value]| -> Vec<Request> {
        let tags = ["", "If-Match: \"2\"\r\n", "If-Match: \"7\"\r\n", "If-Match: *\r\n"];
        let each = |body: &Value| tags.map(|tag| ("", tag, Some(body.clone())));
        bodies.iter().flat_map(each).collect()
    };
    match operation {
        "ListSecrets" => vec![
            ("?detail=full&limit=100", "", None),
            ("?prefix=victim-&detail=full", "", None),
            ("?prefix=victim-&offset=1", "", None),
        ],
        "AuditLog" => vec![
            ("?limit=100", "", None),
            ("?secret=victim-db", "", None),
            ("?action=secret.create", "", None),
        ],
        "CreateSecret" => body(json!({"name": "victim-db", "value": "x"})),
        "UpdateSecret" => tagged(&[json!({"value": "y"}), json!({"description": null})]),
        // A version that is kept, and one that is not, which is 400 where the secret is.
        "RollbackSecret" => tagged(&[json!({"version": 1}), json!({"version": 99})]),
        "RevealSecret" => {
            vec![("", "", None), ("?version=1", "", None), ("?version=99", "", None)]
        }
        "CreateKey" => body(json!({"name": "k", "permissions": ["read"], "secrets": ["victim-*"]})),
        "RotateKey" => body(json!({"overlapSeconds": 600})),
        "CreateAccount" => body(json!({"name": "victim"})),
        "UpdateAccount" => body(json!({"name": "taken", "quotas": {"secrets": 0}})),
        "CreateFunction" => {
            body(json!({"name": "victim-code", "code": "x", "secrets": ["victim-db"]}))
        }
        "UpdateFunction" => {
            [json!({"code": "y"}), json!({"secrets": ["victim-db"]}), json!({"tags": null})]
                .map(|body| ("", "", Some(body)))
                .to_vec()
        }
        "SetFunctionSecrets" => body(json!({"secrets": []})),
        // The hash of code that it has not, which is 409 where the function is.
        "ConfirmFunction" => body(json!({"codeSha256": "0".repeat(64)})),
        "InvokeFunction" => body(json!({"params": {"a": 1}})),
        "ListFunctions" | "ListExecutions" => {
            vec![("?limit=100", "", None), ("?offset=1", "", None)]
        }
        "ReadFunction" => vec![("", "", None), ("?includeCode=true", "", None)],
        "DeleteFunction" | "ReadExecution" => plain(),
        "ReadSecret" | "DeleteSecret" | "ListVersions" | "ListKeys" | "RevokeKey"
        | "ListAccounts" | "ReadAccount" | "DeleteAccount" | "Metrics" | "SealState" => plain(),
        other => panic!("{other}: decide how another account's objects are tried with it"),
    }
}

/// A key, and what it may do.
struct Caller {
    what: &'static str,
    key: String,
    /// None: it is no key any more, or never was.
    permissions: Option<&'static [&'static str]>,
}

impl Caller {
    /// What it is told of an object that it does not reach; None where it may call.
    fn refusal(&self, operation: &Operation) -> Option<(u16, &'static str)> {
        let Some(has) = self.permissions else { return Some((401, "UNAUTHORIZED")) };
        let needed = operation.permission.as_str();
        // The owner reads the instance's own log by the call that gives others their account's.
        if operation.id == "AuditLog" && has == ["owner"] {
            return None;
        }
        let included = has.contains(&"admin") && !["reveal", "owner"].contains(&needed);
        (!included && !has.contains(&needed)).then_some((403, "FORBIDDEN"))
    }
}

struct World {
    connection: Connection,
    owner: String,
}

impl World {
    fn call(&mut self, method: &str, target: &str, key: &str, request: &Request) -> Answer {
        let (query, headers, body) = request;
        let mut headers = (*headers).to_owned();
        if !key.is_empty() {
            headers += &format!("Authorization: Bearer {key}\r\n");
        }
        let body = body.as_ref().map(Value::to_string);
        if body.is_some() {
            headers += "Content-Type: application/json\r\n";
        }
        let target = format!("{target}{query}");
        self.connection.send(method, &target, &headers, body.as_deref().map(str::as_bytes))
    }

    fn post(&mut self, target: &str, key: &str, body: Value) -> Value {
        let answer = self.connection.call("POST", target, key, Some(&body));
        assert!([200, 201].contains(&answer.status), "{target}: {}", answer.json());
        answer.json()
    }

    fn key(&mut self, by: &str, name: &str, more: Value) -> (String, String) {
        let mut body = json!({"name": name});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let made = self.post("/v1/api-keys", by, body);
        (text(&made, "id"), text(&made, "key"))
    }

    fn get(&mut self, target: &str, key: &str) -> Value {
        let answer = self.connection.call("GET", target, key, None);
        assert_eq!(answer.status, 200, "{target}: {}", answer.json());
        answer.json()
    }

    /// All that an account's admin, and the owner, can see of it without leaving a trace.
    fn dump(&mut self, account: &str, admin: &str) -> Value {
        let secrets = self.get("/v1/secrets?detail=full&limit=100", admin);
        let mut each = Vec::new();
        for secret in secrets["secrets"].as_array().unwrap() {
            let target = format!("/v1/secrets/{}", text(secret, "id"));
            let answer = self.connection.call("GET", &target, admin, None);
            let tag = answer.header("etag").unwrap().to_owned();
            let versions = self.get(&format!("{target}/versions"), admin);
            each.push(json!([answer.json(), tag, versions]));
        }
        let owner = self.owner.clone();
        let functions = self.get("/v1/functions?limit=100", admin);
        for function in functions["functions"].as_array().unwrap() {
            let target = format!("/v1/functions/{}", text(function, "id"));
            each.push(self.get(&format!("{target}?includeCode=true"), admin));
        }
        json!({
            "secrets": secrets,
            "functions": functions,
            "each": each,
            "keys": self.get("/v1/api-keys", admin),
            "log": self.get("/v1/audit-log?limit=100", admin),
            "account": self.get(&format!("/v1/accounts/{account}"), &owner),
        })
    }

    fn values(&mut self, account: &Account) -> Vec<Value> {
        let target = |id: &String| format!("/v1/secrets/{id}/value");
        account.secrets[..2].iter().map(|id| self.get(&target(id), &account.admin)).collect()
    }
}

/// An account with something of everything in it.
struct Account {
    id: String,
    admin: String,
    /// `-db` with two versions, `-web`, and `-old`, which is expired.
    secrets: Vec<String>,
    /// Its keys' ids; the first admin's is the first.
    keys: Vec<String>,
    /// A function that declares `-db`.
    function: String,
}

/// Puts secrets and keys into an account, all of them named after it.
fn fill(world: &mut World, name: &str, id: &str, admin: &str) -> Account {
    let body = json!({"name": format!("{name}-code"), "code": format!("// {name}'s code"),
        "secrets": [format!("{name}-db")], "environment": {"whose": format!("{name}'s variable")}});
    let function = text(&world.post("/v1/functions", admin, body), "id");
    let (id, admin) = (id.to_owned(), admin.to_owned());
    let mut account = Account { id, admin, secrets: vec![], keys: vec![], function };
    let admin = &account.admin.clone();
    for kind in ["db", "web", "old"] {
        let mut body = json!({"name": format!("{name}-{kind}"), "value": format!("{name}'s value"),
            "description": format!("{name}'s text"), "tags": {format!("{name}'s tag"): "t"}});
        if kind == "old" {
            body["expiresAt"] = json!("2001-01-01T00:00:00Z");
        }
        account.secrets.push(text(&world.post("/v1/secrets", admin, body), "id"));
    }
    let body = json!({"value": format!("{name}'s value, the second")});
    let target = format!("/v1/secrets/{}", account.secrets[0]);
    assert_eq!(world.connection.call("PUT", &target, admin, Some(&body)).status, 200);
    world.key(admin, &format!("{name}-key"), json!({"permissions": ["read", "write"]}));
    let listed = world.get("/v1/api-keys", admin);
    let listed = listed["apiKeys"].as_array().unwrap();
    account.keys = listed.iter().map(|key| text(key, "id")).collect();
    account
}

const NARROWED: &str = "a narrowed admin of the account";

/// Every kind of key that must not reach this account's `-db`, nor its keys of more than `-web`.
fn callers(world: &mut World, victim: &Account, other: &Account) -> Vec<Caller> {
    let owner = world.owner.clone();
    let doomed = world.post("/v1/accounts", &owner, json!({"name": "doomed"}));
    let gone = format!("/v1/accounts/{}", text(&doomed, "id"));
    assert_eq!(world.connection.call("DELETE", &gone, &owner, None).status, 200);
    let (id, revoked) =
        world.key(&victim.admin, "victim-revoked", json!({"permissions": ["admin", "reveal"]}));
    let revoke = format!("/v1/api-keys/{id}");
    assert_eq!(world.connection.call("DELETE", &revoke, &victim.admin, None).status, 200);
    let past = json!({"permissions": ["admin"], "expiresAt": "2001-01-01T00:00:00Z"});
    let (_, expired) = world.key(&victim.admin, "victim-expired", past);
    let no_longer = |what, key| Caller { what, key, permissions: None };
    let mut callers = vec![
        no_longer("no key", String::new()),
        no_longer("what is no key", "neo_x".to_owned()),
        no_longer("a revoked key of the account", revoked),
        no_longer("an expired key of the account", expired),
        no_longer("a deleted account's key", text(&doomed, "adminKey")),
        Caller { what: "the owner's key", key: owner, permissions: Some(&["owner"]) },
        Caller {
            what: "another account's first admin",
            key: other.admin.clone(),
            permissions: Some(&["admin", "reveal"]),
        },
    ];
    let all: &[&str] = &["admin", "reveal"];
    // Of the account itself, and narrowed; then another account's, one kind each, one of them with a pattern
    // that covers the account's names.
    for (what, by, permissions, secrets) in [
        (NARROWED, victim, all, json!(["victim-web"])),
        ("another account's narrowed admin", other, all, json!(["victim-*"])),
        ("another account's reader", other, &["read"], Value::Null),
        ("another account's writer", other, &["write"], Value::Null),
        ("another account's executor", other, &["execute"], Value::Null),
        ("another account's revealer", other, &["reveal"], Value::Null),
    ] {
        let more = json!({"permissions": permissions, "secrets": secrets});
        let (_, key) = world.key(&by.admin, "k", more);
        callers.push(Caller { what, key, permissions: Some(permissions) });
    }
    callers
}

/// The victim's ids for a path, and one of the same kind that there is not.
fn ids(template: &str, victim: &Account) -> (Vec<String>, String) {
    let missing = |prefix| format!("{prefix}_{}", "A".repeat(24));
    match template.split('/').nth(2) {
        Some("secrets") => (vec![victim.secrets[0].clone()], missing("sec")),
        Some("api-keys") => (victim.keys.clone(), missing("key")),
        Some("accounts") => (vec![victim.id.clone()], missing("acc")),
        Some("functions") => (vec![victim.function.clone()], missing("func")),
        _ => panic!("{template}: whose id is it?"),
    }
}

/// An execution is looked for in a function that is not the caller's, or not there.
fn path(template: &str, id: &str) -> String {
    template.replace("{id}", id).replace("{execution}", &format!("exec_{}", "A".repeat(24)))
}

/// Every operation with every key, and every other method too, on ids that are the victim's.
fn attack(world: &mut World, victim: &Account, callers: &[Caller], heard: &mut Vec<String>) {
    let (operations, templates) = operations();
    let mut tried = 0;
    for operation in &operations {
        let methods: &[&str] = match operation.method.as_str() {
            "GET" => &["GET", "HEAD"],
            method => &[method],
        };
        for (caller, method) in callers.iter().flat_map(|c| methods.iter().map(move |m| (c, m))) {
            let what = format!("{method} {} by {}", operation.template, caller.what);
            let refusal = caller.refusal(operation);
            // Patterns are about secrets: an account's functions are there for all its keys.
            if caller.what == NARROWED && operation.template.starts_with("/v1/functions") {
                continue;
            }
            let has_id = operation.template.contains("{id}");
            if refusal.is_none() && (!has_id || operation.permission == "owner") {
                // It may: `lists_and_totals` looks at what it hears.
                continue;
            }
            let (status, code) = refusal.unwrap_or((404, "NOT_FOUND"));
            let (theirs, missing) =
                if has_id { ids(&operation.template, victim) } else { (vec![], String::new()) };
            for request in requests(&operation.id) {
                let mut ask = |id: &str| {
                    let target = path(&operation.template, id);
                    let answer = world.call(method, &target, &caller.key, &request);
                    if *method == "HEAD" {
                        assert_eq!((answer.status, &*answer.body), (status, &b""[..]), "{what}");
                    } else {
                        answer.error(status, code);
                    }
                    tried += 1;
                    heard.push(format!("{answer:?}"));
                    lasting(&answer)
                };
                let expected = ask(&missing);
                for id in &theirs {
                    assert_eq!(ask(id), expected, "{what}: {request:?}");
                }
            }
        }
    }
    for template in templates {
        let methods = METHODS.iter().filter(|method| {
            let known = if **method == "HEAD" { "GET" } else { method };
            !operations.iter().any(|o| o.template == template && o.method == known)
        });
        let Some(id) = template.contains("{id}").then(|| ids(&template, victim)) else { continue };
        for (method, caller) in methods.flat_map(|m| callers.iter().map(move |c| (m, c))) {
            let mut ask = |id: &str| {
                let target = path(&template, id);
                lasting(&world.call(method, &target, &caller.key, &("", "", None)))
            };
            let (theirs, missing) = (ask(&id.0[0]), ask(&id.1));
            assert_eq!(theirs, missing, "{method} {template} by {}", caller.what);
            assert_eq!(theirs.0, 405, "{method} {template}");
        }
    }
    assert!(tried > 1000, "{tried} tries prove little");
}

/// What each key hears where it may call without an id: byte for byte what it heard before there
/// was the victim, but for what is its own to count.
fn lists(world: &mut World, other: &Account) -> Vec<String> {
    let (operations, _) = operations();
    let mut heard = Vec::new();
    for operation in operations.iter().filter(|o| o.method == "GET" && !o.template.contains("{id}"))
    {
        if operation.permission == "owner" {
            continue;
        }
        for request in requests(&operation.id) {
            let answer = world.call("GET", &operation.template, &other.admin, &request);
            assert_eq!(answer.status, 200, "{}: {}", operation.id, answer.json());
            heard.push(String::from_utf8(answer.body).unwrap());
        }
    }
    heard
}

/// None of these words, each of them the victim's, stands in what somebody else has heard.
fn assert_unheard(heard: &[String], words: &[String]) {
    for text in heard {
        for word in words {
            assert!(!text.contains(word.as_str()), "{word} in {text}");
        }
    }
}

#[test]
fn nobody_reaches_what_is_another_accounts() {
    let config = CONFIG.replace("\"off\"", "\"by-permission\"");
    let home = Home::new(&chip(Product::Genoa), &config);
    let appliance = home.start();
    let claimed = appliance.claim();
    let connection = appliance.connect();
    let mut world = World { connection, owner: claimed.owner.clone() };
    let other = fill(&mut world, "other", &text(&claimed.answer["account"], "id"), &claimed.admin);

    let before = lists(&mut world, &other);
    let made = world.post("/v1/accounts", &claimed.owner, json!({"name": "the-victim"}));
    let victim = fill(&mut world, "victim", &text(&made, "id"), &text(&made, "adminKey"));
    assert_eq!(lists(&mut world, &other), before, "the lists of another account have changed");

    let callers = callers(&mut world, &victim, &other);
    let values = world.values(&victim);
    let (theirs, others) =
        (world.dump(&victim.id, &victim.admin), world.dump(&other.id, &other.admin));
    let mut heard = Vec::new();
    attack(&mut world, &victim, &callers, &mut heard);
    assert_eq!(world.dump(&victim.id, &victim.admin), theirs, "the victim's account has changed");
    assert_eq!(world.dump(&other.id, &other.admin), others, "the caller's account has changed");
    assert_eq!(world.values(&victim), values);

    // The same names in another account are free, and its own.
    let taken =
        world.post("/v1/secrets", &other.admin, json!({"name": "victim-web", "value": "x"}));
    assert!(!victim.secrets.contains(&text(&taken, "id")));
    let found = world.get("/v1/secrets?prefix=victim-", &other.admin);
    assert_eq!(found["pagination"]["total"], 1, "{found}");
    for secret in [&victim.secrets[0], &"victim-db".to_owned()] {
        let log = world.get(&format!("/v1/audit-log?secret={secret}"), &other.admin);
        assert_eq!(log["pagination"]["total"], 0, "{log}");
    }
    heard.extend(lists(&mut world, &other));
    // The owner knows of the account, and of nothing in it.
    for target in ["/v1/accounts", "/v1/audit-log?limit=100", "/v1/seal", "/metrics"] {
        let answer = world.connection.call("GET", target, &claimed.owner, None);
        assert_eq!(answer.status, 200, "{target}");
        heard.push(String::from_utf8(answer.body).unwrap());
    }
    let metrics = heard.last().unwrap().clone();
    let words =
        ["victim-db", "victim-old", "victim-key", "victim's", "victim-revoked", "victim-code"];
    let ids = victim.secrets.iter().chain(&victim.keys).chain([&victim.function]).cloned();
    let words: Vec<_> = words.map(str::to_owned).into_iter().chain(ids).collect();
    assert_unheard(&heard, &words);
    let nobodys = [victim.id.clone(), other.id.clone(), "the-victim".to_owned()];
    assert_unheard(&[metrics], &nobodys);
    assert_unheard(&lists(&mut world, &other), &nobodys[..1]);
}
