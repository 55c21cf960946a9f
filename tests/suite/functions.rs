//! Functions from outside: what each call takes and answers, who may call it, and that binding is
//! reading.

use neo_secrets_tests::appliance::{CONFIG, Home, chip};
use neo_secrets_tests::http::{Answer, Connection};
use serde_json::{Value, json};
use snp_simulator::Product;

const CODE: &str = "async function main(context) { return await context.secrets.get('db-1'); }";
const PATH: &str = "/v1/functions";

fn text(body: &Value, field: &str) -> String {
    body[field].as_str().unwrap_or_else(|| panic!("no {field} in {body}")).to_owned()
}

fn sha256(code: &str) -> String {
    data_encoding::HEXLOWER.encode(&openssl::sha::sha256(code.as_bytes()))
}

struct Caller<'c> {
    connection: &'c mut Connection,
    key: String,
}

impl Caller<'_> {
    fn call(&mut self, method: &str, target: &str, body: Value) -> Answer {
        let body = Some(body).filter(|body| !body.is_null());
        self.connection.call(method, target, &self.key, body.as_ref())
    }

    fn ok(&mut self, method: &str, target: &str, body: Value) -> Value {
        let answer = self.call(method, target, body);
        assert!([200, 201].contains(&answer.status), "{method} {target}: {}", answer.json());
        answer.json()
    }

    fn make(&mut self, name: &str, more: Value) -> Value {
        let mut body = json!({"name": name, "code": CODE});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.ok("POST", PATH, body)
    }

    fn issue(&mut self, permissions: Value, patterns: Value) -> String {
        let body = json!({"name": "k", "permissions": permissions, "secrets": patterns});
        text(&self.ok("POST", "/v1/api-keys", body), "key")
    }
}

#[test]
fn functions_are_made_changed_listed_and_deleted() {
    let home = Home::usual();
    let appliance = home.start();
    let key = appliance.claim().admin;
    let mut connection = appliance.connect();
    let mut c = Caller { connection: &mut connection, key: key.clone() };
    let body = json!({"name": "caller-1", "code": CODE, "description": "d", "timeout": 300,
        "memory": 8, "secrets": ["db-1", "not-there"], "environment": {"REGION": "eu", "": "x"},
        "egress": ["api.example.com"], "tags": {"env": "prod"}});
    c.call("POST", PATH, body.clone()).invalid("environment");
    let mut good = body;
    good["environment"] = json!({"REGION": "eu"});
    let answer = c.call("POST", PATH, good.clone());
    let made = answer.json();
    let (id, target) = (text(&made, "id"), format!("{PATH}/{}", text(&made, "id")));
    assert_eq!((answer.status, answer.header("location")), (201, Some(target.as_str())));
    let time = &made["createdAt"];
    let expected = json!({"id": id, "name": "caller-1", "description": "d", "timeout": 300,
        "memory": 8, "secrets": ["db-1", "not-there"], "environment": {"REGION": "eu"},
        "egress": ["api.example.com"], "tags": {"env": "prod"}, "pinCode": false,
        "confirmed": false, "codeSha256": sha256(CODE), "createdAt": time, "updatedAt": time});
    assert_eq!(made, expected);
    assert_eq!(c.ok("GET", &target, Value::Null), expected);
    assert_eq!(c.ok("GET", &format!("{target}?includeCode=false"), Value::Null), expected);
    let whole = c.ok("GET", &format!("{target}?includeCode=true"), Value::Null);
    assert_eq!(whole["code"], CODE);
    c.call("GET", &format!("{target}?includeCode=1"), Value::Null).invalid("includeCode");
    let error = c.call("POST", PATH, good).error(409, "CONFLICT");
    assert_eq!(error["message"], "A function of that name exists already.");

    // Defaults; then everything cleared is as if it had never been given.
    let bare = c.make("bare", json!({}));
    let clear = json!({"description": null, "timeout": null, "memory": null, "secrets": null,
        "environment": null, "egress": null, "tags": null, "pinCode": null});
    let cleared = c.ok("PUT", &target, clear);
    assert_eq!((&bare["timeout"], &bare["memory"]), (&json!(30), &json!(128)));
    for field in ["description", "timeout", "memory", "secrets", "environment", "egress", "tags"] {
        assert_eq!(cleared[field], bare[field], "{field}");
    }
    let changed = c.ok("PUT", &target, json!({"code": "other()", "timeout": 1}));
    let now = (&changed["codeSha256"], &changed["timeout"], &changed["memory"]);
    assert_eq!(now, (&json!(sha256("other()")), &json!(1), &json!(128)));
    let bound = c.ok("PUT", &format!("{target}/secrets"), json!({"secrets": ["db-2"]}));
    assert_eq!(bound["secrets"], json!(["db-2"]));
    c.call("PUT", &target, json!({})).error(400, "INVALID_REQUEST");
    c.call("PUT", &target, json!({"code": null})).invalid("code");
    c.call("PUT", &target, json!({"name": "x"})).invalid("name");

    // Code that is no JavaScript changes nothing.
    let wrong = "async function main() {\n  return 1 +;\n}";
    for answer in [
        c.call("POST", PATH, json!({"name": "wrong", "code": wrong})),
        c.call("PUT", &target, json!({"code": wrong, "timeout": 2})),
    ] {
        let error = answer.error(400, "FUNCTION_COMPILE_ERROR");
        let details = &error["details"];
        assert_eq!((&details["field"], &details["line"]), (&json!("code"), &json!(2)), "{error}");
        assert!(details["column"].is_u64() && details["issue"].is_string(), "{error}");
    }
    assert_eq!(c.ok("GET", &target, Value::Null), bound);

    let listed = c.ok("GET", &format!("{PATH}?limit=1"), Value::Null);
    assert_eq!(listed["pagination"], json!({"total": 2, "limit": 1, "offset": 0}));
    assert_eq!(listed["functions"], json!([bare]));
    let listed = c.ok("GET", &format!("{PATH}?offset=1"), Value::Null);
    assert_eq!(listed["functions"], json!([bound]));
    let none = c.ok("GET", &format!("{target}/executions"), Value::Null);
    let pagination = json!({"total": 0, "limit": 20, "offset": 0});
    assert_eq!(none, json!({"executions": [], "pagination": pagination}));
    let execution = format!("{target}/executions/exec_{}", "A".repeat(24));
    c.call("GET", &execution, Value::Null).error(404, "NOT_FOUND");

    // It stands through a kill, and is gone for good when it is deleted.
    appliance.kill();
    let appliance = home.start();
    let mut connection = appliance.connect();
    let mut c = Caller { connection: &mut connection, key };
    assert_eq!(c.ok("GET", &target, Value::Null), bound);
    let done = json!({"success": true, "message": "Function deleted successfully"});
    assert_eq!(c.ok("DELETE", &target, Value::Null), done);
    for (method, target, body) in [
        ("DELETE", target.clone(), Value::Null),
        ("GET", target.clone(), Value::Null),
        ("PUT", target.clone(), json!({"tags": null})),
        ("GET", format!("{target}/executions"), Value::Null),
        ("PUT", format!("{target}/secrets"), json!({"secrets": []})),
        ("POST", format!("{target}/confirm"), json!({"codeSha256": sha256(CODE)})),
    ] {
        c.call(method, &target, body).error(404, "NOT_FOUND");
    }
    c.make("caller-1", json!({}));
    let log = c.ok("GET", "/v1/audit-log?limit=100&action=function.delete", Value::Null);
    let name = json!("caller-1");
    let object =
        json!({"type": "function", "id": id, "name": name, "codeSha256": sha256("other()")});
    assert_eq!(log["events"][0]["object"], object);
}

#[test]
fn bad_fields_of_a_function_are_named() {
    let home = Home::usual();
    let appliance = home.start();
    let mut connection = appliance.connect();
    let mut c = Caller { key: appliance.claim().admin, connection: &mut connection };
    let id = text(&c.make("a", json!({})), "id");
    let long = |count: usize| "x".repeat(count);
    let many: Vec<_> = (0..101).map(|number| format!("n{number}")).collect();
    let hosts: Vec<_> = (0..101).map(|number| format!("h{number}.example")).collect();
    for (field, wrong) in [
        ("name", vec![json!(""), json!("A"), json!("a_b"), json!("a.b"), json!(long(65))]),
        ("code", vec![json!(""), json!("a\0b"), json!(long(262_145)), json!(1), Value::Null]),
        ("description", vec![json!(long(501)), json!(1)]),
        ("timeout", vec![json!(0), json!(301), json!(1.5), json!("30"), json!(-1)]),
        ("memory", vec![json!(7), json!(513), json!(u64::MAX)]),
        ("secrets", vec![json!(["a b"]), json!(["a", "a"]), json!("a"), json!([1]), json!(many)]),
        (
            "environment",
            vec![
                json!({long(257): "x"}),
                json!({"a": long(32_769)}),
                json!({"a": long(32_000), "b": long(32_000), "c": long(2_000)}),
                json!({"a": 1}),
                json!([]),
            ],
        ),
        (
            "egress",
            vec![
                json!(["example.com:443"]),
                json!(["*.example.com"]),
                json!(["127.0.0.1"]),
                json!(["0x7f.1"]),
                json!(["[::1]"]),
                json!(["::1"]),
                json!(["Example.com"]),
                json!(["https://example.com"]),
                json!(["example.com."]),
                json!(["-a.example"]),
                json!(["a..example"]),
                json!(["a.example", "a.example"]),
                json!(hosts),
            ],
        ),
        ("tags", vec![json!({"": "x"}), json!([])]),
        ("pinCode", vec![json!("true"), json!(1)]),
    ] {
        for value in wrong {
            let mut body = json!({"name": "b", "code": "x"});
            body[field] = value.clone();
            let error = c.call("POST", PATH, body).error(400, "INVALID_REQUEST");
            // A list that is too long is refused before it is a list of hosts.
            assert_eq!(error["details"]["field"], field, "{error}");
            if field != "name" {
                let change = json!({field: value});
                c.call("PUT", &format!("{PATH}/{id}"), change).invalid(field);
            }
        }
    }
    c.call("PUT", &format!("{PATH}/{id}/secrets"), json!({})).invalid("secrets");
    c.call("PUT", &format!("{PATH}/{id}/secrets"), json!({"secrets": null})).invalid("secrets");
    for hash in [json!("0"), json!("A".repeat(64)), json!(null)] {
        let body = json!({"codeSha256": hash});
        c.call("POST", &format!("{PATH}/{id}/confirm"), body).invalid("codeSha256");
    }
    c.call("GET", &format!("{PATH}?limit=0"), Value::Null).invalid("limit");
    c.call("GET", &format!("{PATH}/{id}/executions?limit=101"), Value::Null).invalid("limit");
    // The largest of everything at once.
    let largest: Vec<_> = (0..100).map(|number| format!("n{number}")).collect();
    let hosts: Vec<_> = (0..100).map(|number| format!("h{number}.example")).collect();
    let body = json!({"secrets": largest, "egress": hosts, "code": "\u{e9}".repeat(131_072),
        "environment": {"a": long(32_767), "b": long(32_767)}});
    let made = c.make(&long(64), body);
    assert_eq!(made["secrets"].as_array().unwrap().len(), 100);
}

#[test]
fn no_call_of_functions_ignores_if_match() {
    let home = Home::usual();
    let appliance = home.start();
    let mut connection = appliance.connect();
    let admin = appliance.claim().admin;
    let mut c = Caller { key: admin.clone(), connection: &mut connection };
    let target = format!("{PATH}/{}", text(&c.make("a", json!({"pinCode": true})), "id"));
    for (method, target, body) in [
        ("PUT", target.clone(), json!({"code": "x"})),
        ("PUT", format!("{target}/secrets"), json!({"secrets": ["s"]})),
        ("POST", format!("{target}/confirm"), json!({"codeSha256": sha256(CODE)})),
        ("DELETE", target.clone(), Value::Null),
    ] {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin}\r\n\
             If-Match: \"1\"\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let error = c.connection.raw(request.as_bytes()).invalid("If-Match");
        assert!(error.to_string().contains("honoured by no call of functions"), "{error}");
    }
    let function = c.ok("GET", &target, Value::Null);
    assert_eq!((&function["codeSha256"], &function["secrets"]), (&json!(sha256(CODE)), &json!([])));
}

#[test]
fn each_call_of_functions_asks_for_its_permission() {
    let home = Home::usual();
    let appliance = home.start();
    let mut connection = appliance.connect();
    let admin = appliance.claim().admin;
    let mut c = Caller { key: admin.clone(), connection: &mut connection };
    let id = text(&c.make("a", json!({"pinCode": true})), "id");
    let keys = ["read", "write", "execute", "admin"]
        .map(|permission| (permission, c.issue(json!([permission]), Value::Null)));
    let target = format!("{PATH}/{id}");
    let execution = format!("{target}/executions/exec_{}", "A".repeat(24));
    let hash = json!({"codeSha256": sha256(CODE)});
    let table = [
        ("GET", PATH.to_owned(), Value::Null, "read", 200),
        ("GET", target.clone(), Value::Null, "read", 200),
        ("GET", format!("{target}?includeCode=true"), Value::Null, "read", 200),
        ("GET", format!("{target}/executions"), Value::Null, "read", 200),
        ("GET", execution, Value::Null, "read", 404),
        // Without secrets there is nothing to bind.
        ("PUT", target.clone(), json!({"code": "x", "egress": ["a.example"]}), "write", 200),
        ("PUT", target.clone(), json!({"code": CODE}), "write", 200),
        ("PUT", format!("{target}/secrets"), json!({"secrets": []}), "admin", 200),
        ("POST", format!("{target}/confirm"), hash, "admin", 200),
        ("POST", PATH.to_owned(), json!({"name": "a", "code": "x"}), "write", 409),
        ("DELETE", format!("{PATH}/func_{}", "A".repeat(24)), Value::Null, "admin", 404),
    ];
    for (method, target, body, needed, status) in table {
        for (permission, key) in &keys {
            c.key.clone_from(key);
            let answer = c.call(method, &target, body.clone());
            if *permission == needed || *permission == "admin" {
                assert_eq!(answer.status, status, "{method} {target} by {permission}");
            } else {
                let error = answer.error(403, "FORBIDDEN");
                let message =
                    format!("This key lacks the permission {needed}: it has {permission}.");
                assert_eq!(error["message"], message, "{method} {target}");
            }
        }
    }
}

#[test]
fn whoever_decides_what_reads_a_secret_could_read_it() {
    let home = Home::usual();
    let appliance = home.start();
    let mut connection = appliance.connect();
    let admin = appliance.claim().admin;
    let mut c = Caller { key: admin.clone(), connection: &mut connection };
    let writer = c.issue(json!(["read", "write", "execute"]), Value::Null);
    let narrow = c.issue(json!(["admin"]), json!(["db-*"]));
    let id = text(&c.make("a", json!({"secrets": ["db-1", "web"], "pinCode": true})), "id");
    let target = format!("{PATH}/{id}");
    let needs_admin = "Deciding what reads a function's secrets takes the permission admin.";
    let outside = "This key does not reach every secret that the function declares.";
    let forbidden = |answer: Answer, message: &str| {
        assert_eq!(answer.error(403, "FORBIDDEN")["message"], message);
    };
    let create = json!({"name": "b", "code": "x", "secrets": ["db-1", "web"]});
    for (key, message) in [(&writer, needs_admin), (&narrow, outside)] {
        c.key.clone_from(key);
        forbidden(c.call("POST", PATH, create.clone()), message);
        // Before the code is looked at.
        let wrong = json!({"name": "b", "code": "(", "secrets": ["db-1", "web"]});
        forbidden(c.call("POST", PATH, wrong), message);
        forbidden(c.call("PUT", &target, json!({"code": "(", "egress": []})), message);
        let missing = format!("{PATH}/func_{}", "A".repeat(24));
        c.call("PUT", &missing, json!({"code": "("})).error(404, "NOT_FOUND");
        for change in [
            json!({"secrets": []}),
            json!({"environment": {}}),
            json!({"egress": ["evil.example"]}),
            json!({"pinCode": false}),
            json!({"code": "x", "egress": ["evil.example"]}),
        ] {
            forbidden(c.call("PUT", &target, change), message);
        }
    }
    forbidden(c.call("PUT", &format!("{target}/secrets"), json!({"secrets": ["db-1"]})), outside);
    // Pinned code is changed by whoever may write, and reads nothing until it is confirmed.
    c.key.clone_from(&writer);
    let changed = c.ok("PUT", &target, json!({"code": "x", "description": "y"}));
    assert_eq!((&changed["pinCode"], &changed["confirmed"]), (&json!(true), &json!(false)));
    let (confirm, hash) = (format!("{target}/confirm"), json!({"codeSha256": sha256("x")}));
    c.key.clone_from(&narrow);
    forbidden(c.call("POST", &confirm, hash.clone()), outside);
    c.key.clone_from(&admin);
    let stale = c.call("POST", &confirm, json!({"codeSha256": sha256(CODE)}));
    let message = format!("The function has other code: {}.", sha256("x"));
    assert_eq!(stale.error(409, "CONFLICT")["message"], message);
    assert_eq!(c.ok("POST", &confirm, hash.clone())["confirmed"], true);
    c.ok("PUT", &target, json!({"pinCode": false}));
    c.call("POST", &confirm, hash).error(409, "CONFLICT");
    c.key.clone_from(&writer);
    forbidden(c.call("PUT", &target, json!({"code": "y"})), needs_admin);
    // The narrowed admin may see what was done to functions, which it may list.
    c.key.clone_from(&narrow);
    let log = c.ok("GET", "/v1/audit-log?action=function.confirm", Value::Null);
    assert_eq!(log["pagination"]["total"], 1);
}

#[test]
fn a_quota_of_functions_stops_growth() {
    let home =
        Home::new(&chip(Product::Genoa), &format!("{CONFIG}[limits]\nfunctions_per_account = 2\n"));
    let appliance = home.start();
    let claimed = appliance.claim();
    let mut connection = appliance.connect();
    let mut c = Caller { key: claimed.admin.clone(), connection: &mut connection };
    let first = text(&c.make("a", json!({})), "id");
    c.make("b", json!({}));
    let body = json!({"name": "c", "code": "x"});
    let error = c.call("POST", PATH, body.clone()).error(507, "QUOTA_EXCEEDED");
    assert_eq!(error["message"], "The account is at its quota functions: 2 functions.");
    let account = format!("/v1/accounts/{}", text(&claimed.answer["account"], "id"));
    c.key.clone_from(&claimed.owner);
    let raised = c.ok("PUT", &account, json!({"quotas": {"functions": 3}}));
    assert_eq!(
        (&raised["quotas"]["functions"], &raised["usage"]["functions"]),
        (&json!(3), &json!(2))
    );
    c.key.clone_from(&claimed.admin);
    c.ok("POST", PATH, body);
    c.ok("DELETE", &format!("{PATH}/{first}"), Value::Null);
    c.make("d", json!({}));
    c.call("POST", PATH, json!({"name": "e", "code": "x"})).error(507, "QUOTA_EXCEEDED");
}
