//! The owner's commands: accounts, their quotas, and the instance's own log.

use crate::cli::{REVEALING, claim, cli, home};

#[test]
fn an_owner_makes_bounds_and_deletes_an_account() {
    let home = home(REVEALING);
    let appliance = home.start();
    claim(&home, &appliance);
    // owner.key lies beside the profile's admin.key, and is found.
    let made = cli(&home, "accounts create team --secrets 2 --audit-events 5 --out team.key");
    made.says(0, &["acc_", "--key-file team.key keys list"]);
    cli(&home, "accounts create team --out team.key")
        .says(1, &["exists and is not overwritten", "--out FILE"]);
    let listed = cli(&home, "accounts list").out;
    let row = listed.lines().find(|line| line.contains("\tteam\t")).unwrap();
    assert!(row.contains("\t0 of 2\t") && row.ends_with("\t0 of 5\t0 of 1000"), "{row}");
    assert_eq!(cli(&home, "-q accounts list").out.lines().count(), 2);

    std::fs::write(home.path("k.env"), "A=1\nB=2\nC=3\nD=4\n").unwrap();
    let full = cli(&home, "--key-file team.key import k.env");
    full.says(1, &["what stopped it", "update ACCOUNT --secrets N", "--skip-existing"]);
    cli(&home, "accounts update team --secrets default").says(0, &["2 of 10000000"]);
    cli(&home, "--key-file team.key import k.env --skip-existing").says(0, &["skipped\t2"]);
    cli(&home, "--key-file team.key secrets value A").says(0, &["1"]);
    let full = cli(&home, "--key-file team.key secrets value A");
    full.says(1, &["QUOTA_EXCEEDED", "update ACCOUNT --audit-events N"]);
    cli(&home, "accounts update team --name crew --audit-events 99").says(0, &["crew", "5 of 99"]);
    cli(&home, "accounts show team").says(5, &["accounts list shows the names"]);
    cli(&home, "--key-file team.key secrets value A").says(0, &["1"]);
    // Neither sees the other's.
    cli(&home, "secrets get A").says(5, &["no secret named \"A\""]);
    cli(&home, "--key-file team.key accounts list").says(4, &["owner.key"]);
    cli(&home, "--key-file keys/owner.key secrets list").says(4, &[]);
    cli(&home, "--key-file keys/owner.key status").says(0, &["the owner's"]);

    cli(&home, "accounts delete crew").says(2, &["--yes"]);
    cli(&home, "accounts delete crew --yes").says(0, &["deleted acc_"]);
    cli(&home, "--key-file team.key secrets list").says(4, &["unknown, revoked or expired"]);
    let log = cli(&home, "audit --owner").out;
    let actions: Vec<&str> = log.lines().map(|line| line.split('\t').nth(1).unwrap()).collect();
    assert_eq!(actions, ["account.delete", "account.update", "account.update", "account.create"]);
}
