//! Commands against a stand-in that answers as the API does.

use super::*;
use crate::tests::host::REVEALING;

const ID: &str = "sec_AbCdEfGhIjKlMnOpQrStUv-_";
const ACCOUNT: &str = "acc_AbCdEfGhIjKlMnOpQrStUv-_";

/// A host that lets values out, and the options of a command that goes to it.
async fn revealing(folder: &Folder, replies: Vec<Reply>) -> (Host, String) {
    let host = Host::start_with(REVEALING, vec![Evidence::Genuine], replies).await;
    let options = options(&host, folder);
    (host, options)
}

fn options(host: &Host, folder: &Folder) -> String {
    let (files, key) = (host.files(&folder.0).join(" "), key_file(folder));
    format!("--url {} --pin {} {files} --key-file {key}", host.url, host.instance_key())
}

async fn done(line: String, folder: &Folder) -> Done {
    let result = run_line(line.clone(), environment(folder)).await;
    result.unwrap_or_else(|failure| panic!("{line}: {}", failure.to_text()))
}

fn last_request(host: &Host) -> String {
    host.connections().last().unwrap().requests.last().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_comes_out_byte_for_byte_and_a_file_is_never_overwritten() {
    let reply = r#"{"id":"sec_AbCdEfGhIjKlMnOpQrStUv-_","name":"db","version":3,
        "value":"p\u00e4ss\nword\u0000\ud83d\ude00"}"#;
    let folder = Folder::new();
    let (host, options) = revealing(&folder, vec![Reply::Ok(reply)]).await;
    let value = "päss\nword\0😀";
    let shown = done(format!("secrets value {ID} {options}"), &folder).await;
    assert_eq!(piped(&shown), value);
    assert_eq!(json(&shown)["value"], value);
    let out = folder.join("value");
    let line = format!("secrets value {ID} --version 3 --out {} {options}", out.display());
    done(line.clone(), &folder).await;
    assert_eq!(fs::read_to_string(&out).unwrap(), value);
    assert_eq!(crate::files::mode_open_to_others(&out), None);
    assert!(first_line(&last_request(&host)).contains("/value?version=3 HTTP"));
    let asked = host.count("GET /v1/secrets/");
    let failure = run_line(line.clone(), environment(&folder)).await.err().unwrap();
    assert!(failure.to_text().contains("--force"), "{}", failure.to_text());
    assert_eq!(host.count("GET /v1/secrets/"), asked, "a value was asked for in vain");
    done(format!("{line} --force"), &folder).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_told_so_and_nothing_is_made_that_has() {
    let gone = r#"{"error":{"code":"NOT_FOUND","message":"There is no such object."}}"#;
    let secret = r#"{"id":"sec_AbCdEfGhIjKlMnOpQrStUv-_","name":"db","version":1,
        "expiresAt":"2020-01-01T00:00:00Z","expired":true}"#;
    let folder = Folder::new();
    let replies = vec![Reply::Status(404, gone), Reply::Ok(secret)];
    let (host, options) = revealing(&folder, replies).await;
    let failure = run_line(format!("secrets value {ID} {options}"), environment(&folder)).await;
    let failure = failure.err().unwrap();
    assert_eq!(failure.exit, Exit::NotFoundOrConflict);
    let text = failure.to_text();
    for part in ["db has expired since 2020-01-01 00:00:00", "update db --clear-expires-at"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let value = folder.join("value");
    fs::write(&value, "v").unwrap();
    let sent = host.connections().len();
    for command in [
        "keys create k --permission read".to_owned(),
        format!("secrets create s --from-file {}", value.display()),
    ] {
        let line = format!("{command} --expires-at 2020-01-01 {options}");
        let failure = run_line(line, environment(&folder)).await.err().unwrap();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.contains("2020-01-01T00:00:00Z has passed"), "{}", failure.message);
    }
    assert_eq!(host.connections().len(), sent, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_reveal_is_off_no_value_is_asked_for() {
    let folder = Folder::new();
    let host = Host::start(vec![Evidence::Genuine], vec![Reply::Ok("{}")]).await;
    let options = options(&host, &folder);
    for command in ["secrets value db", "run --all"] {
        let child = if command.starts_with("run") { "-- true" } else { "" };
        let line = format!("{command} {options} {child}");
        let failure = run_line(line, environment(&folder)).await.err().unwrap();
        assert_eq!(failure.exit, Exit::NotAuthorised);
        assert!(failure.to_text().contains("reveal = \"off\""), "{}", failure.to_text());
    }
    assert_eq!(host.count("GET /v1/secrets"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_is_filtered_and_told() {
    let page = r#"{"events":[{"time":"2026-02-01T12:00:05Z","action":"secret.reveal",
        "actor":{"type":"key","id":"key_b"},
        "object":{"type":"secret","id":"sec_a","name":"db","version":2},
        "from":"192.0.2.1","requestId":"req_1"},
        {"time":"2026-02-01T12:00:04Z","action":"account.create","actor":{"type":"owner"},
        "object":{"type":"account","id":"acc_a","name":"x"},"from":"192.0.2.1","requestId":"r"}],
        "pagination":{"total":9,"limit":2,"offset":0}}"#;
    let folder = Folder::new();
    let keys = r#"{"apiKeys":[{"id":"key_b","name":"ci"}]}"#;
    let replies = vec![Reply::Ok(page), Reply::Ok(keys), Reply::Status(429, "{}"), Reply::Ok(page)];
    let (host, options) = revealing(&folder, replies).await;
    let filters = "--from 2026-02-01 --to 2026-02-02T00:00:00Z --action secret.reveal --secret a&b";
    let shown = done(format!("audit --limit 2 {filters} {options}"), &folder).await;
    assert_eq!(
        piped(&shown),
        "2026-02-01T12:00:05Z\tsecret.reveal\tkey_b\tsec_a\tdb\t2\t192.0.2.1\tci\n\
         2026-02-01T12:00:04Z\taccount.create\towner\tacc_a\tx\t-\t192.0.2.1\t-\n"
    );
    assert!(human(&shown).contains("2026-02-01 12:00:05  secret.reveal"));
    assert!(human(&shown).ends_with("1-2 of 9; more: --offset 2\n"), "{}", human(&shown));
    let requests = host.connections().last().unwrap().requests.clone();
    assert_eq!(
        first_line(&requests[requests.len() - 2]),
        "GET /v1/audit-log?limit=2&offset=0&from=2026-02-01T00%3A00%3A00Z&\
         to=2026-02-02T00%3A00%3A00Z&action=secret.reveal&secret=a%26b HTTP/1.1"
    );
    // All pages are one: what moved to a later page meanwhile is told once.
    let shown = done(format!("audit --all {options}"), &folder).await;
    assert_eq!(json(&shown)["events"].as_array().unwrap().len(), 2);
    assert!(human(&shown).ends_with("1-2 of 2\n"), "{}", human(&shown));
    for offset in [0, 2, 4, 6, 8] {
        let page = format!("GET /v1/audit-log?limit=100&offset={offset} ");
        assert_eq!(host.count(&page), if offset == 0 { 2 } else { 1 }, "{offset}");
    }
    let reversed = run_line(format!("audit --from 5m --to 10m {options}"), environment(&folder));
    let text = reversed.await.err().unwrap().to_text();
    assert!(text.contains(" is later than --to ") && text.contains("--from 10m --to 5m"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_made_with_quotas_and_their_key_is_kept_in_a_file() {
    let made = r#"{"id":"acc_AbCdEfGhIjKlMnOpQrStUv-_","name":"team","createdAt":
        "2026-02-01T12:00:05Z","quotas":{"secrets":5,"valueBytes":9,"apiKeys":3,"auditEvents":7,
        "functions":4},
        "usage":{"secrets":1,"valueBytes":2,"apiKeys":1,"auditEvents":0,"functions":2},"adminKey":"neo_new"}"#;
    let list = r#"{"accounts":[{"id":"acc_AbCdEfGhIjKlMnOpQrStUv-_","name":"team","createdAt":
        "2026-02-01T12:00:05Z","quotas":{"secrets":5,"valueBytes":9,"apiKeys":3,"auditEvents":7,
        "functions":4},
        "usage":{"secrets":1,"valueBytes":2,"apiKeys":1,"auditEvents":0,"functions":2}}],
        "pagination":{"total":1,"limit":20,"offset":0}}"#;
    let folder = Folder::new();
    let empty = r#"{"accounts":[],"pagination":{"total":0,"limit":100,"offset":0}}"#;
    let replies = vec![Reply::Ok(empty), Reply::Status(201, made), Reply::Ok(list)];
    let (host, options) = revealing(&folder, replies).await;
    let out = folder.join("team.key");
    let quotas = "--secrets 5 --value-bytes default";
    let line = format!("accounts create team {quotas} --out {} {options}", out.display());
    let shown = done(line.clone(), &folder).await;
    assert_eq!(fs::read_to_string(&out).unwrap(), "neo_new\n");
    assert_eq!(crate::files::mode_open_to_others(&out), None);
    assert!(!piped(&shown).contains("neo_new") && !json(&shown).to_string().contains("neo_new"));
    let body = r#"{"name":"team","quotas":{"secrets":5,"valueBytes":null}}"#;
    assert!(last_request(&host).ends_with(body), "{}", last_request(&host));
    // The key's file exists: the account is not made a second time.
    assert!(run_line(line, environment(&folder)).await.is_err());
    assert_eq!(host.count("POST /v1/accounts"), 1);

    let listed = done(format!("accounts list {options}"), &folder).await;
    assert_eq!(
        piped(&listed),
        format!("{ACCOUNT}\tteam\t2026-02-01T12:00:05Z\t1 of 5\t2 of 9\t1 of 3\t0 of 7\t2 of 4\n")
    );
    let update = format!("accounts update team --name crew --audit-events 9 {options}");
    done(update, &folder).await;
    let request = last_request(&host);
    assert_eq!(first_line(&request), format!("PUT /v1/accounts/{ACCOUNT} HTTP/1.1"));
    assert!(request.ends_with(r#"{"name":"crew","quotas":{"auditEvents":9}}"#), "{request}");
    // Nobody can be asked here.
    let delete = format!("accounts delete {ACCOUNT} {options}");
    let unasked = run_line(delete.clone(), environment(&folder)).await.err().unwrap();
    assert!(unasked.exit == Exit::Usage && unasked.to_text().contains("--yes"));
    assert_eq!(host.count("DELETE "), 0);
    done(format!("{delete} --yes"), &folder).await;
    assert_eq!(host.count(&format!("DELETE /v1/accounts/{ACCOUNT} ")), 1);
    let nothing = run_line(format!("accounts update team {options}"), environment(&folder)).await;
    assert_eq!(nothing.err().unwrap().exit, Exit::Usage);
    let bad = run_line(format!("accounts create a/b {options}"), environment(&folder)).await;
    assert!(bad.err().unwrap().to_text().contains("--out FILE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seals_slots_are_told() {
    let seal = r#"{"storeId":"0101","instanceKey":"AAAA","seal":"firmware","slots":[
        {"kind":"firmware","tcb":{"bootLoader":10,"tee":0,"snp":27,"microcode":84}}]}"#;
    let folder = Folder::new();
    let (_host, options) = revealing(&folder, vec![Reply::Ok(seal)]).await;
    let shown = done(format!("seal {options}"), &folder).await;
    for part in ["store\t0101\n", "firmware\t", "bootLoader=10", "snp=27"] {
        assert!(piped(&shown).contains(part), "{part}: {}", piped(&shown));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_key_is_marked() {
    let keys = r#"{"apiKeys":[
        {"id":"key_a","name":"old","permissions":["read"],"secrets":["a*","b*"],
         "expiresAt":"2020-01-01T00:00:00Z","createdAt":"2019-01-01T00:00:00Z",
         "oldKeyUntil":"2019-01-02T00:00:00Z"},
        {"id":"key_b","name":"new","permissions":["read","write"],"secrets":null,
         "expiresAt":null,"createdAt":"2019-01-01T00:00:00Z"}]}"#;
    let folder = Folder::new();
    let (_host, options) = revealing(&folder, vec![Reply::Ok(keys)]).await;
    let shown = done(format!("keys list {options}"), &folder).await;
    assert_eq!(
        piped(&shown),
        "key_a\told\tread\ta*,b*\t2020-01-01T00:00:00Z (expired)\t2019-01-01T00:00:00Z\t\
         2019-01-02T00:00:00Z\n\
         key_b\tnew\tread,write\tall\tnever\t2019-01-01T00:00:00Z\t-\n"
    );
    assert!(human(&shown).contains("expired 2"), "{}", human(&shown));
    let hint = human(&shown).lines().last().unwrap().to_owned();
    let expected = hint.starts_with("1 expired: neo-secrets --url https://");
    assert!(expected && hint.ends_with(" keys revoke ID removes one"), "{hint}");
}

/// A key that rotates itself goes on in its file: that is said, with what to type.
#[tokio::test(flavor = "multi_thread")]
async fn who_rotates_the_key_in_use_is_told_what_to_type() {
    let keys = r#"{"apiKeys":[{"id":"key_AbCdEfGhIjKlMnOpQrStUv-_","name":"admin",
        "permissions":["admin"],"secrets":null,"expiresAt":null,"oldKeyUntil":null,
        "createdAt":"2019-01-01T00:00:00Z"}]}"#;
    let rotated = r#"{"id":"key_AbCdEfGhIjKlMnOpQrStUv-_","name":"admin","permissions":["admin"],
        "secrets":null,"expiresAt":null,"createdAt":"2019-01-01T00:00:00Z","key":"neo_new"}"#;
    let unknown = r#"{"error":{"code":"UNAUTHORIZED","message":"A valid API key is required."}}"#;
    let events = r#"{"events":[],"pagination":{"total":0,"limit":100,"offset":0}}"#;
    let folder = Folder::new();
    let replies = [keys, rotated].map(Reply::Ok);
    let own = [&replies[..], &[Reply::Status(401, unknown)], &replies, &[Reply::Ok(events)]];
    let (host, options) = revealing(&folder, own.concat()).await;
    let out = folder.join("new.key");
    let line = format!("keys rotate admin --overlap 5m --out {} {options}", out.display());
    let shown = human(&done(line.clone(), &folder).await);
    assert_eq!(fs::read_to_string(&out).unwrap(), "neo_new\n");
    assert!(shown.contains("the old key works until"), "{shown}");
    let in_use = folder.join("admin.key");
    let told = format!("{} has the old key: type --key-file {}", in_use.display(), out.display());
    assert!(shown.contains(&told), "{shown}");
    // Another key's rotation leaves the file in use as it is.
    assert!(!human(&done(line, &folder).await).contains("has the old key"));
    assert!(last_request(&host).starts_with("GET /v1/audit-log"), "{}", last_request(&host));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_admin_key_is_told_with_a_way_to_rotate_and_to_revoke_it() {
    let keys = r#"{"apiKeys":[{"id":"key_AbCdEfGhIjKlMnOpQrStUv-_","name":"admin"}]}"#;
    let last = r#"{"error":{"code":"CONFLICT","message":"This is the account's last one."}}"#;
    let folder = Folder::new();
    let replies = [Reply::Ok(keys), Reply::Status(409, last)];
    let (_host, options) = revealing(&folder, [replies, replies].concat()).await;
    for (command, advice) in [
        ("keys rotate admin", "keys rotate admin --overlap 5m --out FILE"),
        ("keys revoke admin", "keys create NAME --permission admin,reveal --out NAME.key"),
    ] {
        let failure = run_line(format!("{command} {options}"), environment(&folder)).await;
        let failure = failure.err().unwrap();
        assert_eq!(failure.exit, Exit::NotFoundOrConflict);
        assert!(failure.to_text().contains(advice), "{}", failure.to_text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_told_with_the_command_that_gives_it() {
    let denied = r#"{"error":{"code":"FORBIDDEN","message":"This key lacks the permission admin.",
        "requestId":"r"}}"#;
    let folder = Folder::new();
    let (_host, options) = revealing(&folder, vec![Reply::Status(403, denied)]).await;
    let failure =
        run_line(format!("keys list {options}"), environment(&folder)).await.err().unwrap();
    assert_eq!(failure.exit, Exit::NotAuthorised);
    let text = failure.to_text();
    assert!(text.contains("keys create NAME --permission admin"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_reports_each_outcome_and_shows_no_value() {
    let taken =
        r#"{"error":{"code":"CONFLICT","message":"A secret of that name exists already."}}"#;
    let folder = Folder::new();
    let created = Reply::Status(201, "{}");
    let replies = vec![created, Reply::Status(409, taken), created];
    let (host, options) = revealing(&folder, replies).await;
    let file = folder.join("k.env");
    fs::write(&file, "A=sesame-1\nB=sesame-2\n___=sesame-3\nEMPTY=\n").unwrap();
    let line = format!("import {} --prefix app. {options}", file.display());
    let shown = done(line, &folder).await;
    let failure = shown.failure.as_ref().unwrap();
    assert_eq!((failure.exit, failure.message.as_str()), (Exit::Error, "2 of 4 were not imported"));
    let counts = &json(&shown)["counts"];
    assert_eq!((&counts["created"], &counts["conflict"]), (&2.into(), &1.into()));
    assert_eq!(json(&shown)["error"]["exitCode"], 1);
    let told = format!("{}{}{}", piped(&shown), json(&shown), failure.to_text());
    assert!(!told.contains("sesame"), "{told}");
    assert!(piped(&shown).contains("app.EMPTY\tinvalid\tEMPTY\texpected a value"));
    assert!(last_request(&host).contains(r#""name":"app.___""#), "{}", last_request(&host));
}

/// A dry run fails where the import would, for the key's sake.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_looks_at_what_the_key_may() {
    let narrowed = r#"{"error":{"code":"FORBIDDEN","message":
        "This key lacks the permission admin: it has read, write on secrets db-*."}}"#;
    let reader = r#"{"error":{"code":"FORBIDDEN","message":
        "This key lacks the permission admin: it has read."}}"#;
    let silent = r#"{"error":{"code":"FORBIDDEN","message":
        "This key lacks the permission admin."}}"#;
    let none = r#"{"secrets":[],"pagination":{"total":0,"limit":100,"offset":0}}"#;
    let folder = Folder::new();
    let denied = |body| [Reply::Status(403, body), Reply::Ok(none), Reply::Ok(none)];
    let replies = [&denied(narrowed)[..], &denied(silent), &[Reply::Status(403, reader)]].concat();
    let (_host, options) = revealing(&folder, replies).await;
    let file = folder.join("k.env");
    fs::write(&file, "db-a=1\nweb-a=2\n").unwrap();
    let line = format!("import {} --dry-run {options}", file.display());
    let shown = done(line.clone(), &folder).await;
    assert!(piped(&shown).starts_with("db-a\tcreate\t\t\n"), "{}", piped(&shown));
    assert!(piped(&shown).contains("web-a\tfailed\t\tthis key does not reach"));
    let text = shown.failure.as_ref().unwrap().to_text();
    assert!(text.contains("1 of 2 would not be imported"), "{text}");
    let shown = done(line.clone(), &folder).await;
    assert!(shown.failure.is_none() && human(&shown).contains("not checked: whether this key"));
    let failure = run_line(line, environment(&folder)).await.err().unwrap();
    assert_eq!(failure.exit, Exit::NotAuthorised);
    assert!(failure.to_text().contains("--permission read,write --out"), "{}", failure.to_text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_stops_where_the_next_would_fail_alike() {
    let full = r#"{"error":{"code":"QUOTA_EXCEEDED","message":
        "The account is at its quota secrets: 1 secret."}}"#;
    let folder = Folder::new();
    let replies = vec![Reply::Status(201, "{}"), Reply::Status(507, full)];
    let (host, options) = revealing(&folder, replies).await;
    let file = folder.join("k.json");
    fs::write(&file, r#"{"a":"1","b":"2","c":"3","d":"4"}"#).unwrap();
    let shown = done(format!("import {} {options}", file.display()), &folder).await;
    let counts = &json(&shown)["counts"];
    let counted = ["created", "failed", "not tried"].map(|name| counts[name].as_u64().unwrap());
    assert_eq!(counted, [1, 1, 2]);
    assert_eq!(host.count("POST /v1/secrets"), 2);
    let text = shown.failure.unwrap().to_text();
    for part in
        ["3 of 4 were not imported", "quota", "update ACCOUNT --secrets N", "--skip-existing"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_tells_what_is_wrong_and_what_to_type() {
    let folder = Folder::new();
    let unready = r#"{"error":{"code":"SERVICE_UNAVAILABLE","message":"other-machine: moved",
        "details":{"field":"phase","issue":"sealed"}}}"#;
    let sealed = Host::start(vec![Evidence::Sealed], vec![Reply::Status(503, unready)]).await;
    let line = format!("status {}", options(&sealed, &folder));
    let shown = done(line, &folder).await;
    assert_eq!(json(&shown)["state"], "sealed");
    assert!(piped(&shown).contains("state\tsealed: other-machine: moved\n"), "{}", piped(&shown));
    assert!(piped(&shown).contains("key\tnot sent: the instance does not serve"));
    assert_eq!(shown.failure.unwrap().exit, Exit::Error);

    let refused = Host::start(vec![Evidence::Debug], vec![]).await;
    let files = refused.files(&folder.0).join(" ");
    let shown = done(format!("status {} {files}", refused.url), &folder).await;
    assert_eq!(json(&shown)["error"]["step"], 7);
    let failure = shown.failure.unwrap();
    assert_eq!(failure.exit, Exit::Refused);
    for part in ["POLICY.DEBUG", "got:", "expected:", "verify --explain"] {
        assert!(failure.to_text().contains(part), "{part}: {}", failure.to_text());
    }

    let unready = r#"{"error":{"code":"SERVICE_UNAVAILABLE","message":"unclaimed: no owner yet"}}"#;
    let unclaimed = Host::start(vec![Evidence::Unclaimed], vec![Reply::Status(503, unready)]).await;
    let files = unclaimed.files(&folder.0).join(" ");
    let shown = done(format!("status {} {files}", unclaimed.url), &folder).await;
    assert!(piped(&shown).contains("state\tunclaimed: no owner yet\n"), "{}", piped(&shown));
    assert!(piped(&shown).contains("pin\tnone: a claim makes one\n"), "{}", piped(&shown));
    assert!(shown.failure.unwrap().to_text().contains("--owner-key owner.pem"));

    let nobody = format!("status https://127.0.0.1:1 {files}");
    let shown = done(nobody, &folder).await;
    assert_eq!(json(&shown)["state"], "unreachable");
    assert_eq!(shown.failure.unwrap().exit, Exit::Error);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_tells_what_the_key_may_do() {
    for (statuses, expected) in [
        (vec![200, 200, 404], "admin, which includes read, write and execute; reveal"),
        (vec![200, 403, 403], "read (whether"),
        (vec![401], "unknown, revoked or expired"),
        (vec![403, 200], "the owner's"),
        (vec![403, 403, 403, 404], "not read (whether"),
    ] {
        let folder = Folder::new();
        let replies = [200].into_iter().chain(statuses);
        let replies = replies.map(|status| Reply::Status(status, "{}")).collect();
        let (_host, options) = revealing(&folder, replies).await;
        let shown = done(format!("status {options}"), &folder).await;
        assert!(piped(&shown).contains(&format!("key\t{expected}")), "{}", piped(&shown));
        assert!(shown.failure.is_none());
    }
}
