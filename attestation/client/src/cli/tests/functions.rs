//! `functions ..` against a stand-in that answers as the API does.

use neo_secrets_attestation::receipt::{Receipt, SecretRead, Sha256Digest, SignedReceipt};
use serde_json::json;

use super::*;
use crate::tests::host::{STORE, clock, sign_receipt};

const ID: &str = "func_AbCdEfGhIjKlMnOpQrStUv-_";
const OTHER: &str = "func_BBCdEfGhIjKlMnOpQrStUv-_";
const EXECUTION: &str = "exec_AbCdEfGhIjKlMnOpQrStUv-_";
const CODE: &str = "async function main() {\n  return 1;\n}\n";
const NONE: &str = r#"{"functions":[],"pagination":{"total":0,"limit":100,"offset":0}}"#;

fn leaked(value: impl ToString) -> &'static str {
    value.to_string().leak()
}

/// The function as the API shows it.
fn function(code: &str) -> Value {
    json!({"id": ID, "name": "weather", "description": null, "timeout": 30, "memory": 128,
        "secrets": ["api-key"], "environment": {}, "egress": ["api.example.com"], "tags": {},
        "pinCode": true, "confirmed": false, "codeSha256": Sha256Digest::of(code.as_bytes()),
        "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z", "code": code})
}

fn listed() -> Reply {
    let page = json!({"functions": [function(CODE)],
        "pagination": {"total": 1, "limit": 100, "offset": 0}});
    Reply::Ok(leaked(page))
}

fn receipt(params: &str, result: &str) -> Receipt {
    Receipt {
        store_id: STORE,
        function_id: ID.parse().unwrap(),
        code_sha256: Sha256Digest::of(CODE.as_bytes()),
        execution_id: EXECUTION.parse().unwrap(),
        params_sha256: Sha256Digest::of(params.as_bytes()),
        result_sha256: Sha256Digest::of(result.as_bytes()),
        secrets_read: [SecretRead::new("api-key", 3.try_into().unwrap()).unwrap()].into(),
        started_at: clock(),
        completed_at: clock(),
    }
}

/// The answer to an invocation, byte for byte.
fn answered(result: &str, receipt: &SignedReceipt) -> Reply {
    let execution = json!({"id": EXECUTION, "status": "completed",
        "startedAt": "2026-01-01T00:00:00Z", "completedAt": "2026-01-01T00:00:01Z",
        "duration": 7});
    let logs = json!([{"level": "info", "message": "called"}]);
    let receipt = serde_json::to_string(receipt).unwrap();
    let body = format!(
        r#"{{"execution":{execution},"result":{result},"logs":{logs},"receipt":{receipt}}}"#
    );
    Reply::Ok(leaked(body))
}

/// A host, and the options of a command that goes to it.
async fn started(folder: &Folder, replies: Vec<Reply>) -> (Host, String) {
    let host = Host::start(vec![Evidence::Genuine], replies).await;
    let (files, key) = (host.files(&folder.0).join(" "), folder.join("admin.key"));
    if !key.exists() {
        key_file(folder);
    }
    let key = key.display();
    let options =
        format!("--url {} --pin {} {files} --key-file {key}", host.url, host.instance_key());
    (host, options)
}

fn code_file(folder: &Folder, code: &str) -> String {
    let path = folder.join("weather.js");
    fs::write(&path, code).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn done(line: String, folder: &Folder) -> Done {
    let result = run_line(line.clone(), environment(folder)).await;
    result.unwrap_or_else(|failure| panic!("{line}: {}", failure.to_text()))
}

async fn failed(line: String, folder: &Folder) -> Failure {
    run_line(line, environment(folder)).await.err().unwrap()
}

fn last_request(host: &Host) -> (String, Value) {
    let request = host.connections().last().unwrap().requests.last().unwrap().clone();
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    (first_line(&request), serde_json::from_str(body).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_name_is_created_with_all_that_was_said() {
    let folder = Folder::new();
    let created = Reply::Status(201, leaked(function(CODE)));
    let (host, options) = started(&folder, vec![Reply::Ok(NONE), created]).await;
    let line = format!(
        "functions deploy {} --name weather --secret api-key --egress api.example.com --env A=B=C \
         --timeout 5 --memory 64 --tag team=x --pin-code --description d {options}",
        code_file(&folder, CODE)
    );
    let shown = done(line, &folder).await;
    assert!(human(&shown).contains("created weather"), "{}", human(&shown));
    assert!(human(&shown).contains("NOT CONFIRMED"), "{}", human(&shown));
    let (line, body) = last_request(&host);
    assert_eq!(line, "POST /v1/functions HTTP/1.1");
    let expected = json!({"name": "weather", "code": CODE, "description": "d", "timeout": 5,
        "memory": 64, "secrets": ["api-key"], "egress": ["api.example.com"],
        "environment": {"A": "B=C"}, "tags": {"team": "x"}, "pinCode": true});
    assert_eq!(body, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_name_is_changed_in_what_differs_and_in_nothing_else() {
    let folder = Folder::new();
    let was = Reply::Ok(leaked(function(CODE)));
    let (host, options) = started(&folder, vec![listed(), was, was]).await;
    let deploy = format!("functions deploy {} --name weather {options}", code_file(&folder, "b"));
    let shown = done(
        format!("{deploy} --secret api-key --timeout 30 --clear egress --clear tags"),
        &folder,
    )
    .await;
    assert!(human(&shown).contains("functions confirm weather"), "{}", human(&shown));
    let (line, body) = last_request(&host);
    assert_eq!(line, format!("PUT /v1/functions/{ID} HTTP/1.1"));
    assert_eq!(body, json!({"code": "b", "egress": null}));

    let (host, options) = started(&folder, vec![listed(), was]).await;
    let deploy = format!("functions deploy {} --name weather {options}", code_file(&folder, CODE));
    let shown = done(deploy, &folder).await;
    assert!(human(&shown).contains("nothing changes"), "{}", human(&shown));
    assert_eq!(host.count("PUT "), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_syntax_error_is_shown_where_it_stands() {
    let folder = Folder::new();
    let refused = json!({"error": {"code": "FUNCTION_COMPILE_ERROR",
        "message": "The code is not JavaScript.", "requestId": "r",
        "details": {"field": "code", "issue": "unexpected token: ';'", "line": 2, "column": 11}}});
    let replies = vec![Reply::Ok(NONE), Reply::Status(400, leaked(refused))];
    let (_host, options) = started(&folder, replies).await;
    let code = "function main() {\n\tlet x = ;\n}";
    let file = code_file(&folder, code);
    let failure =
        failed(format!("functions deploy {file} --name weather {options}"), &folder).await;
    let text = failure.to_text();
    let expected =
        format!("error: {file}:2:11: unexpected token: ';'\n  2 |  let x = ;\n    |           ^");
    assert_eq!(text, expected);
    assert_eq!(failure.to_json()["error"]["line"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_shown_exactly_once_its_receipt_holds() {
    let folder = Folder::new();
    let (params, result) = ("{ \"city\": \"Z\u{fc}rich\" }", "{\"t\":1.0, \"u\":[]}");
    let signed = sign_receipt(receipt(params, result));
    let (host, options) = started(&folder, vec![listed(), answered(result, &signed)]).await;
    let (out, file) = (folder.join("receipt.json"), folder.join("params"));
    fs::write(&file, format!("{params}\n")).unwrap();
    let line = format!(
        "functions invoke weather --params @{} --receipt {} --code {} {options}",
        file.display(),
        out.display(),
        code_file(&folder, CODE)
    );
    let shown = done(line, &folder).await;
    assert_eq!(piped(&shown), format!("{result}\n"));
    assert_eq!(json(&shown)["receiptVerified"], true);
    assert_eq!(json(&shown)["logs"][0]["message"], "called");
    assert_eq!(SignedReceipt::parse(&fs::read(&out).unwrap()).unwrap(), signed);
    let request = host.connections().last().unwrap().requests.last().unwrap().clone();
    assert!(request.ends_with(&format!("\r\n\r\n{{\"params\":{params}}}")), "{request}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_a_result_like_any_other() {
    let folder = Folder::new();
    let replies = vec![answered("null", &sign_receipt(receipt("null", "null")))];
    let (_host, options) = started(&folder, replies).await;
    let shown = done(format!("functions invoke {ID} --params null {options}"), &folder).await;
    assert_eq!(piped(&shown), "null\n");
    let shown = done(format!("functions logs {ID} {EXECUTION} {options}"), &folder).await;
    assert!(piped(&shown).contains("result\tnull\n"), "{}", piped(&shown));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_without_a_receipt_that_holds_is_not_shown() {
    let folder = Folder::new();
    let good = receipt("1", "true");
    let mut forged = sign_receipt(good.clone());
    forged.receipt.secrets_read.clear();
    let with = |change: fn(&mut Receipt)| {
        let mut receipt = good.clone();
        change(&mut receipt);
        answered("true", &sign_receipt(receipt))
    };
    let bare = r#"{"execution":{"id":"exec_AbCdEfGhIjKlMnOpQrStUv-_","status":"completed"},
        "result":true,"logs":[]}"#;
    for (reply, expected) in [
        (answered("true", &forged), "the signature is not"),
        (answered("false", &sign_receipt(good.clone())), "the result has SHA-256"),
        (with(|it| it.params_sha256 = Sha256Digest::of(b"")), "the parameters have SHA-256"),
        (with(|it| it.function_id = OTHER.parse().unwrap()), "is about function"),
        (with(|it| it.code_sha256 = Sha256Digest::of(b"x")), "the code that ran has SHA-256"),
        (with(|it| it.store_id.0[0] = 9), "is about store"),
        (with(|it| it.execution_id.0[0] = 9), "is about another execution"),
        (Reply::Ok(bare), "has no receipt"),
    ] {
        let (_host, options) = started(&folder, vec![reply]).await;
        let code = code_file(&folder, CODE);
        let line = format!("functions invoke {ID} --params 1 --code {code} {options}");
        let failure = failed(line, &folder).await;
        assert_eq!(failure.exit, Exit::Refused, "{expected}");
        assert!(failure.message.contains(expected), "{expected}: {}", failure.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_code_throws_is_told_with_its_stack_and_where_its_logs_are() {
    let folder = Folder::new();
    let thrown = json!({"error": {"code": "EXECUTION_ERROR", "message": "The function threw.",
        "requestId": "r", "details": {"name": "TypeError", "message": "not a \u{1b}[2Jfunction",
        "stack": "    at main (3)\n", "executionId": EXECUTION}}});
    let (_host, options) = started(&folder, vec![Reply::Status(500, leaked(thrown))]).await;
    let failure = failed(format!("functions invoke {ID} {options}"), &folder).await;
    let text = failure.to_text();
    assert_eq!(failure.exit, Exit::Error);
    for part in ["TypeError: not a \\u{1b}[2Jfunction", "at main (3)", EXECUTION] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let line = format!("functions invoke f --params {{ {options}");
    assert_eq!(failed(line, &folder).await.exit, Exit::Usage);
    assert!(usage("functions invoke f --wait").contains("--async"));
    assert!(usage("functions secrets f").contains("--set"));
    assert!(usage("functions deploy f.js --name n --memory 4").contains("8..=512"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_runs_on_is_waited_for_and_its_masked_result_told_as_such() {
    let folder = Folder::new();
    let accepted = json!({"execution": {"id": EXECUTION, "status": "running",
        "startedAt": "2026-01-01T00:00:00Z"}});
    let record = answered("\"***\"", &sign_receipt(receipt("", "\"sesame\"")));
    let replies = vec![Reply::Status(202, leaked(&accepted)), Reply::Ok(leaked(&accepted)), record];
    let (host, options) = started(&folder, replies).await;
    let shown = done(format!("functions invoke {ID} --async --wait {options}"), &folder).await;
    assert_eq!(piped(&shown), "\"***\"\n");
    assert_eq!(json(&shown)["resultVerified"], false);
    assert_eq!(host.count(&format!("GET /v1/functions/{ID}/executions/{EXECUTION} ")), 2);

    let (_host, options) = started(&folder, vec![Reply::Status(202, leaked(&accepted))]).await;
    let shown = done(format!("functions invoke {ID} --async {options}"), &folder).await;
    assert_eq!(piped(&shown), format!("{EXECUTION}\n"));
}

/// A profile that `verify --save-profile` made of this host.
async fn saved(host: &Host, folder: &Folder) -> String {
    let path = folder.join("p.json");
    let (files, pin) = (host.files(&folder.0).join(" "), host.instance_key());
    let name = format!("--profile {}", path.display());
    done(format!("{name} verify {} {files} --pin {pin} --save-profile", host.url), folder).await;
    name
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_checked_offline_by_the_key_that_the_profile_keeps() {
    let folder = Folder::new();
    let host = Host::start(vec![Evidence::Genuine], vec![]).await;
    let name = saved(&host, &folder).await;
    let met = host.connections().len();
    let (file, result) = (folder.join("r.json"), folder.join("result"));
    fs::write(&file, sign_receipt(receipt("1", "[1]")).to_json()).unwrap();
    fs::write(&result, "[1]\n").unwrap();
    let verify = format!("{name} functions verify {}", file.display());
    let any = format!("{verify} --any-function");
    let shown = done(format!("{any} --params 1 --result {}", result.display()), &folder).await;
    assert_eq!(host.connections().len(), met, "offline");
    let text = piped(&shown);
    for part in [
        "SIMULATED",
        "holds        the instance's receipt key signed it",
        "left open    the code that ran",
        "api-key (version 3)",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(json(&shown)["verified"], true);

    let other = code_file(&folder, "other");
    for (options, expected) in [
        ("--any-function --params 2".to_owned(), "REFUSED      the parameters"),
        (format!("--function {ID} --no-params"), "REFUSED      the parameters"),
        (format!("--function {OTHER}"), "REFUSED      the function"),
        (format!("--function {ID} --code {other} --params 1"), "REFUSED      the code"),
    ] {
        let shown = done(format!("{verify} {options}"), &folder).await;
        assert_eq!(shown.failure.as_ref().unwrap().exit, Exit::Refused);
        assert!(piped(&shown).contains(expected), "{expected}: {}", piped(&shown));
        assert!(json(&shown)["verified"] == false && json(&shown)["error"]["exitCode"] == 3);
    }
    fs::write(&file, "{}").unwrap();
    assert_eq!(failed(any, &folder).await.exit, Exit::Refused);
}

/// A key that stands beside another instance's pin is not that instance's.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_kept_key_the_pinned_instances_evidence_is_asked_for() {
    let folder = Folder::new();
    let host = Host::start(vec![Evidence::Genuine], vec![]).await;
    let name = saved(&host, &folder).await;
    let file = folder.join("r.json");
    fs::write(&file, sign_receipt(receipt("1", "[1]")).to_json()).unwrap();
    let verify = format!("functions verify {} --any-function", file.display());

    let other = Host::start(vec![Evidence::Genuine], vec![]).await;
    let line = format!("{name} {verify} --pin {}", other.instance_key());
    let failure = failed(line, &folder).await;
    assert_eq!((failure.exit, failure.step()), (Exit::Refused, Some(11)));

    let (files, pin) = (host.files(&folder.0).join(" "), host.instance_key());
    let met = host.connections().len();
    let shown = done(format!("{verify} --url {} --pin {pin} {files}", host.url), &folder).await;
    assert!(piped(&shown).contains("verified now"), "{}", piped(&shown));
    assert_eq!(host.connections().len(), met + 1);
    let failure = failed(format!("{verify} --url {} {files}", host.url), &folder).await;
    assert_eq!(failure.exit, Exit::Usage, "no instance is named");
    assert_eq!(host.connections().len(), met + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_is_refused_where_the_kept_receipt_key_is_another() {
    let folder = Folder::new();
    let host = Host::start(vec![Evidence::Genuine], vec![Reply::Ok("{}")]).await;
    let name = saved(&host, &folder).await;
    let path = folder.join("p.json");
    let mut profile = Profile::read(&path).unwrap();
    profile.receipts.as_mut().unwrap().receipt_key.0[0] ^= 1;
    profile.write(&path).unwrap();
    let line = format!("{name} functions invoke {ID} --key-file {}", key_file(&folder));
    let failure = failed(line, &folder).await;
    assert_eq!(failure.exit, Exit::Refused);
    assert_eq!(host.count("POST "), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn code_is_confirmed_by_the_hash_of_what_was_read() {
    let folder = Folder::new();
    let served = Reply::Ok(leaked(function(CODE)));
    let (host, options) = started(&folder, vec![served]).await;
    let confirm = format!("functions confirm {ID} {options}");
    let failure = failed(format!("{confirm} --code {}", code_file(&folder, "x")), &folder).await;
    assert_eq!(failure.exit, Exit::NotFoundOrConflict);
    assert_eq!(host.count("POST "), 0);
    done(format!("{confirm} --code {} --yes", code_file(&folder, CODE)), &folder).await;
    let (line, body) = last_request(&host);
    assert_eq!(line, format!("POST /v1/functions/{ID}/confirm HTTP/1.1"));
    assert_eq!(body, json!({"codeSha256": Sha256Digest::of(CODE.as_bytes())}));
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_and_their_executions_are_listed_and_shown() {
    let folder = Folder::new();
    let executions = json!({"executions": [{"id": EXECUTION, "status": "timeout",
        "startedAt": "2026-01-01T00:00:00Z", "duration": 30000}],
        "pagination": {"total": 1, "limit": 20, "offset": 0}});
    let record = answered("[1]", &sign_receipt(receipt("", "[1]")));
    let function = Reply::Ok(leaked(function(CODE)));
    let replies = vec![listed(), Reply::Ok(leaked(executions)), record, function];
    let (_host, options) = started(&folder, replies).await;
    let shown = done(format!("functions list {options}"), &folder).await;
    let row = format!("{ID}\tweather\tapi-key\tapi.example.com\tNOT CONFIRMED\t");
    assert!(piped(&shown).starts_with(&row), "{}", piped(&shown));
    let shown = done(format!("functions logs {ID} {options}"), &folder).await;
    assert_eq!(piped(&shown), format!("{EXECUTION}\ttimeout\t2026-01-01T00:00:00Z\t30000\n"));
    let shown = done(format!("functions logs {ID} {EXECUTION} {options}"), &folder).await;
    for part in ["result\t[1]\n", "secrets read\tapi-key (version 3)\n", "info: called\n"] {
        assert!(piped(&shown).contains(part), "{part}: {}", piped(&shown));
    }
    let shown = done(format!("functions show {ID} --code {options}"), &folder).await;
    assert_eq!(piped(&shown), CODE);
}
