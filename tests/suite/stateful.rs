//! Random sequences of calls by the keys of two accounts and the owner's, with stops and kills in
//! between: each answer is what a small model in memory says. A failure shows the shortest sequence
//! that proptest finds. `STATEFUL_SEED` (a number) and `STATEFUL_CASES` make other and longer runs.

mod calls;
mod keys;
mod model;
mod secrets;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;

use neo_secrets_tests::appliance::{Appliance, CONFIG, Home, chip};
use neo_secrets_tests::http::{Answer, Connection};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use serde_json::{Value, json};
use snp_simulator::Product;

use model::{Account, Key, NAMES, PATTERNS, PERMISSIONS, QUOTAS, Refusal};

/// How a mismatch reads.
type Checked<T = ()> = Result<T, String>;

/// Who calls. Tokens are counted from the account's first, also those that work no longer.
#[derive(Clone, Copy, Debug)]
enum Who {
    Nobody,
    Owner,
    Key { account: usize, token: usize },
}

/// A secret or a key: of the caller's account, or of the other one.
#[derive(Clone, Copy, Debug)]
struct Target {
    foreign: bool,
    number: usize,
}

#[derive(Clone, Copy, Debug)]
enum IfMatch {
    Absent,
    Current,
    Other,
}

#[derive(Clone, Copy, Debug)]
enum Expiry {
    Keep,
    Clear,
    Past,
    Future,
}

#[derive(Clone, Debug)]
enum Act {
    Create { name: usize, bytes: usize, expiry: Expiry },
    Update { secret: Target, bytes: Option<usize>, expiry: Expiry, if_match: IfMatch },
    Rollback { secret: Target, version: u64, if_match: IfMatch },
    Delete { secret: Target },
    Read { secret: Target },
    Versions { secret: Target },
    Reveal { secret: Target, version: Option<u64> },
    List { prefix: Option<&'static str>, limit: usize, offset: usize, full: bool },
    CreateKey { permissions: usize, patterns: usize },
    RevokeKey { key: Target },
    RotateKey { key: Target, overlap: u64 },
    ListKeys,
    Log { action: Option<&'static str>, secret: Option<Target>, limit: usize, offset: usize },
    SetQuota { foreign: bool, which: usize, quota: Option<u64> },
    ReadAccount { foreign: bool },
    DeleteAccount { foreign: bool },
    Stop,
    Kill,
}

#[derive(Clone, Debug)]
struct Step {
    who: Who,
    act: Act,
}

fn who() -> impl Strategy<Value = Who> {
    let key = (0..2_usize, prop_oneof![3 => Just(0), 2 => 0..10_usize]);
    prop_oneof![
        18 => key.prop_map(|(account, token)| Who::Key { account, token }),
        2 => Just(Who::Owner),
        1 => Just(Who::Nobody),
    ]
}

fn target() -> impl Strategy<Value = Target> {
    let foreign = prop_oneof![9 => Just(false), 1 => Just(true)];
    (foreign, 0..8_usize).prop_map(|(foreign, number)| Target { foreign, number })
}

fn expiry() -> impl Strategy<Value = Expiry> {
    prop_oneof![
        4 => Just(Expiry::Keep), 1 => Just(Expiry::Clear), 1 => Just(Expiry::Past),
        1 => Just(Expiry::Future),
    ]
}

fn if_match() -> impl Strategy<Value = IfMatch> {
    prop_oneof![
        3 => Just(IfMatch::Absent), 1 => Just(IfMatch::Current), 1 => Just(IfMatch::Other),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let bytes = || 1..40_usize;
    let prefix = prop::option::of(prop::sample::select(vec!["d", "db-", "web-1", "x"]));
    let actions =
        vec!["secret.create", "secret.update", "secret.reveal", "key.rotate", "account.update"];
    let action = prop::option::weighted(0.3, prop::sample::select(actions));
    prop_oneof![
        12 => (0..NAMES.len(), bytes(), expiry())
            .prop_map(|(name, bytes, expiry)| Act::Create { name, bytes, expiry }),
        8 => (target(), prop::option::of(bytes()), expiry(), if_match())
            .prop_map(|(secret, bytes, expiry, if_match)| Act::Update { secret, bytes, expiry, if_match }),
        5 => (target(), 0..6_u64, if_match())
            .prop_map(|(secret, version, if_match)| Act::Rollback { secret, version, if_match }),
        4 => target().prop_map(|secret| Act::Delete { secret }),
        3 => target().prop_map(|secret| Act::Read { secret }),
        3 => target().prop_map(|secret| Act::Versions { secret }),
        6 => (target(), prop::option::of(1..6_u64))
            .prop_map(|(secret, version)| Act::Reveal { secret, version }),
        4 => (prefix, 1..5_usize, 0..4_usize, any::<bool>())
            .prop_map(|(prefix, limit, offset, full)| Act::List { prefix, limit, offset, full }),
        6 => (0..PERMISSIONS.len(), 0..PATTERNS.len())
            .prop_map(|(permissions, patterns)| Act::CreateKey { permissions, patterns }),
        3 => target().prop_map(|key| Act::RevokeKey { key }),
        4 => (target(), prop::sample::select(vec![0, 60, 3600]))
            .prop_map(|(key, overlap)| Act::RotateKey { key, overlap }),
        2 => Just(Act::ListKeys),
        4 => (action, prop::option::weighted(0.3, target()), 1..30_usize, 0..5_usize)
            .prop_map(|(action, secret, limit, offset)| Act::Log { action, secret, limit, offset }),
        1 => any::<bool>().prop_map(|foreign| Act::ReadAccount { foreign }),
    ]
}

/// A call by somebody; or one of the owner's, which few callers may make; or a restart.
fn step() -> impl Strategy<Value = Step> {
    let quota = prop::option::weighted(0.8, 0..50_u64);
    let owners = prop_oneof![
        8 => (any::<bool>(), 0..QUOTAS.len(), quota)
            .prop_map(|(foreign, which, quota)| Act::SetQuota { foreign, which, quota }),
        3 => any::<bool>().prop_map(|foreign| Act::ReadAccount { foreign }),
        1 => any::<bool>().prop_map(|foreign| Act::DeleteAccount { foreign }),
    ];
    let by = prop_oneof![4 => Just(Who::Owner), 1 => who()];
    prop_oneof![
        100 => (who(), act()).prop_map(|(who, act)| Step { who, act }),
        8 => (by, owners).prop_map(|(who, act)| Step { who, act }),
        1 => prop_oneof![Just(Act::Stop), Just(Act::Kill)]
            .prop_map(|act| Step { who: Who::Nobody, act }),
    ]
}

/// An instance, and two accounts of it as they should be.
struct World<'a> {
    home: &'a Home,
    appliance: Option<Appliance<'a>>,
    connection: Connection,
    owner: String,
    owner_id: String,
    accounts: Vec<Account>,
    /// The instance's own log, oldest first, since it held `told_before` events.
    log: Vec<Value>,
    told_before: u64,
    calls: usize,
    /// The statuses there have been.
    seen: BTreeSet<u16>,
}

impl<'a> World<'a> {
    fn new(home: &'a Home) -> World<'a> {
        let appliance = home.start();
        let claimed = appliance.claim();
        let (connection, owner) = (appliance.connect(), claimed.owner);
        World {
            home,
            appliance: Some(appliance),
            connection,
            owner,
            owner_id: String::new(),
            accounts: Vec::new(),
            log: Vec::new(),
            told_before: 0,
            calls: 0,
            seen: BTreeSet::new(),
        }
    }

    /// Two new accounts, and none of those before.
    fn begin(&mut self) {
        let owner = self.owner.clone();
        for account in std::mem::take(&mut self.accounts) {
            let target = format!("/v1/accounts/{}", account.id);
            let status = self.connection.call("DELETE", &target, &owner, None).status;
            assert!([200, 404].contains(&status));
        }
        for name in ["one", "two"] {
            let body = json!({"name": name});
            let made = self.connection.call("POST", "/v1/accounts", &owner, Some(&body)).json();
            let text = |field: &str| made[field].as_str().unwrap().to_owned();
            let token = text("adminKey");
            let listed = self.connection.call("GET", "/v1/api-keys", &token, None).json();
            let first = &listed["apiKeys"][0];
            let first = |field: &str| first[field].as_str().unwrap().to_owned();
            let key = Key {
                id: first("id"),
                name: first("name"),
                permissions: PERMISSIONS[0],
                patterns: PATTERNS[0],
                created_at: first("createdAt"),
                token: token.clone(),
                previous: None,
                revoked: false,
            };
            self.accounts.push(Account {
                id: text("id"),
                name: name.to_owned(),
                created_at: text("createdAt"),
                quotas: [None; 5],
                secrets: Vec::new(),
                keys: vec![key],
                tokens: vec![(token, 0)],
                log: Vec::new(),
                deleted: false,
            });
        }
        let log = self.connection.call("GET", "/v1/audit-log?limit=1", &owner, None).json();
        self.told_before = log["pagination"]["total"].as_u64().unwrap();
        self.owner_id = log["events"][0]["actor"]["id"].as_str().unwrap().to_owned();
        self.log.clear();
    }

    fn restart(&mut self, stop: impl FnOnce(Appliance<'a>)) {
        stop(self.appliance.take().unwrap());
        let appliance = self.home.start();
        assert_eq!(appliance.state(), "ready");
        self.connection = appliance.connect();
        self.appliance = Some(appliance);
    }

    fn token(&self, who: Who) -> &str {
        match who {
            Who::Nobody => "",
            Who::Owner => &self.owner,
            Who::Key { account, token } => {
                let tokens = &self.accounts[account].tokens;
                &tokens[token % tokens.len()].0
            }
        }
    }

    /// The account that a caller stands in, or may speak of.
    fn home_of(who: Who, foreign: bool) -> usize {
        let own = if let Who::Key { account, .. } = who { account } else { 0 };
        if foreign { 1 - own } else { own }
    }

    /// The caller's account and key, where it has this permission.
    fn allowed(&self, who: Who, permission: &str) -> Result<(usize, usize), Refusal> {
        let account = match who {
            Who::Nobody => return Err(model::UNAUTHORIZED),
            Who::Owner => return Err(model::FORBIDDEN),
            Who::Key { account, .. } => account,
        };
        let key = self.accounts[account].holder(self.token(who)).ok_or(model::UNAUTHORIZED)?;
        let may = self.accounts[account].keys[key].may(permission);
        if may { Ok((account, key)) } else { Err(model::FORBIDDEN) }
    }

    /// That the caller is the owner, and the account is there.
    fn owned(&self, who: Who, account: usize) -> Result<(), Refusal> {
        match who {
            Who::Nobody => Err(model::UNAUTHORIZED),
            Who::Key { account, .. } => match self.accounts[account].holder(self.token(who)) {
                Some(_) => Err(model::FORBIDDEN),
                None => Err(model::UNAUTHORIZED),
            },
            Who::Owner if self.accounts[account].deleted => Err(model::NOT_FOUND),
            Who::Owner => Ok(()),
        }
    }

    fn send(
        &mut self,
        who: Who,
        method: &str,
        target: &str,
        headers: &str,
        body: Option<Value>,
    ) -> Answer {
        self.calls += 1;
        let mut headers = headers.to_owned();
        let token = self.token(who);
        if !token.is_empty() {
            write!(headers, "Authorization: Bearer {token}\r\n").unwrap();
        }
        if body.is_some() {
            headers += "Content-Type: application/json\r\n";
        }
        let body = body.as_ref().map(Value::to_string);
        let body = body.as_deref().map(str::as_bytes);
        let answer = self.connection.send(method, target, &headers, body);
        self.seen.insert(answer.status);
        answer
    }
}

/// Goes through one sequence; the error says which step went wrong, and how.
fn follow(world: &mut World<'_>, steps: &[Step]) -> Checked {
    world.begin();
    for (number, step) in steps.iter().enumerate() {
        world.step(step).map_err(|error| format!("step {}: {error}", number + 1))?;
    }
    world.audit()
}

#[test]
fn every_answer_is_the_models() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let seed = number("STATEFUL_SEED", 1);
    let cases = u32::try_from(number("STATEFUL_CASES", 24)).unwrap();
    let [secrets, bytes, keys, events, functions] = model::DEFAULTS;
    let config = CONFIG.replace("\"off\"", "\"by-permission\"");
    let config = format!(
        "{config}[limits]\nversions_kept = {}\nsecrets_per_account = {secrets}\n\
         value_bytes_per_account = {bytes}\napi_keys_per_account = {keys}\n\
         audit_events_per_account = {events}\nfunctions_per_account = {functions}\n",
        model::VERSIONS_KEPT
    );
    let home = Home::new(&chip(Product::Genoa), &config);
    let world = RefCell::new(World::new(&home));
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2000,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, rng);
    let outcome = runner.run(&prop::collection::vec(step(), 1..160), |steps| {
        follow(&mut world.borrow_mut(), &steps).map_err(TestCaseError::fail)
    });
    let calls = world.borrow().calls;
    let run = format!("STATEFUL_SEED={seed} STATEFUL_CASES={cases}: {calls} calls");
    let _ = writeln!(std::io::stderr(), "{run}");
    if let Err(error) = outcome {
        let TestError::Fail(reason, steps) = error else { panic!("{run}: {error}") };
        let lines: String = steps.iter().enumerate().fold(String::new(), |mut text, (n, step)| {
            writeln!(text, "{:4}. {:?}: {:?}", n + 1, step.who, step.act).unwrap();
            text
        });
        panic!("{run}\n{lines}{reason}");
    }
    // Else the sequences would prove little.
    let every = [200, 201, 400, 401, 403, 404, 409, 412, 507];
    assert_eq!(world.borrow().seen, every.into(), "{run}");
}
