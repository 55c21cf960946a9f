//! `profile export`, `import`, `list` and `show`.

use neo_secrets_attestation::ed25519::{PublicKey, Signature};
use neo_secrets_attestation::reference::signed_message;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;

use super::*;
use std::path::Path;

/// A profile that was saved from a host, and the folder that it lies in.
async fn saved(folder: &Folder) -> (Host, PathBuf) {
    let host = Host::start(vec![Evidence::Genuine], vec![]).await;
    let (files, key) = (host.files(&folder.0).join(" "), key_file(folder));
    let path = folder.join("own.json");
    let (pin, name) = (host.instance_key(), path.display());
    let line = format!(
        "--profile {name} verify {} {files} --pin {pin} --key-file {key} --save-profile",
        host.url
    );
    run_line(line, environment(folder)).await.ok().unwrap();
    assert!(Profile::read(&path).unwrap().key_file.is_some());
    (host, path)
}

fn line(line: &str, folder: &Folder) -> Result<Done, Failure> {
    super::super::run(&parsed(line), &environment(folder))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_profile_has_no_key_file_and_verifies_for_a_colleague() {
    let (own, colleague) = (Folder::new(), Folder::new());
    let (host, path) = saved(&own).await;
    let out = own.join("for-a-colleague.json");
    let export = format!("--profile {} profile export", path.display());
    let done = line(&format!("{export} --out {}", out.display()), &own).ok().unwrap();
    assert_eq!(json(&done)["profile"]["simulated"], true);
    let text = fs::read_to_string(&out).unwrap();
    assert!(!text.contains("admin.key") && !text.contains("key-of-this-test"), "{text}");
    assert_eq!(piped(&line(&export, &own).ok().unwrap()), text);
    assert!(line(&format!("{export} --out {}", out.display()), &own).is_err(), "overwritten");

    let import = format!("profile import {} --yes", out.display());
    let done = line(&import, &colleague).ok().unwrap();
    assert_eq!(json(&done)["instanceKey"], host.instance_key().to_string());
    let kept = colleague.join("config/profiles/default.json");
    let profile = Profile::read(&kept).unwrap();
    assert_eq!(profile, Profile { key_file: None, ..Profile::read(&path).unwrap() });
    assert_eq!(crate::files::mode_open_to_others(&kept), None);
    run_line("verify".to_owned(), environment(&colleague)).await.ok().unwrap();

    let failure = line(&import, &colleague).err().unwrap();
    assert_eq!(failure.exit, Exit::NotFoundOrConflict);
    assert!(failure.to_text().contains("--force"), "{}", failure.to_text());
    line(&format!("{import} --force"), &colleague).ok().unwrap();
    line(&format!("profile import {} other --yes", out.display()), &colleague).ok().unwrap();
    let listed = json(&line("profile list", &colleague).ok().unwrap());
    let names: Vec<_> = listed["profiles"].as_array().unwrap().iter().map(|p| &p["name"]).collect();
    assert_eq!(names, ["default", "other"]);
    let shown = human(&line("profile show other", &colleague).ok().unwrap());
    assert!(shown.contains("SIMULATED") && shown.contains(&host.url.to_string()), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_over_a_profile_says_which_pin_it_replaces() {
    let (own, colleague) = (Folder::new(), Folder::new());
    let ((first, first_path), (second, second_path)) = (saved(&own).await, {
        let other = Folder::new();
        let (host, path) = saved(&other).await;
        (host, {
            let kept = own.join("second.json");
            fs::copy(path, &kept).unwrap();
            kept
        })
    });
    let import = |path: &Path, more: &str| {
        json(
            &line(&format!("profile import {} --yes {more}", path.display()), &colleague)
                .ok()
                .unwrap(),
        )
    };
    assert_eq!(import(&first_path, "")["replacedPin"], Value::Null);
    assert_eq!(import(&second_path, "--force")["replacedPin"], first.instance_key().to_string());
    assert_eq!(import(&second_path, "--force")["replacedPin"], second.instance_key().to_string());
    // The key file stays where the instance is the same one.
    let mine = colleague.join("mine.key");
    let key_file = || {
        let kept = Profile::read(&colleague.join("config/profiles/default.json")).unwrap();
        kept.key_file
    };
    import(&second_path, &format!("--force --key-file {}", mine.display()));
    import(&second_path, "--force");
    assert_eq!(key_file(), Some(mine));
    import(&first_path, "--force");
    assert_eq!(key_file(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_profile_names_no_file_of_ours_and_is_whole() {
    let (own, colleague) = (Folder::new(), Folder::new());
    let (_host, path) = saved(&own).await;
    let good = fs::read_to_string(&path).unwrap();
    assert!(good.contains("\"keyFile\": \"admin.key\""), "{good}");
    let hostile = own.join("hostile.json");
    let import = |text: String, more: &str| {
        fs::write(&hostile, text).unwrap();
        line(&format!("profile import {} {more}", hostile.display()), &colleague)
    };
    let kept = colleague.join("config/profiles/default.json");
    let elsewhere = good.replace("\"admin.key\"", "\"/home/me/.ssh/id_ed25519\"");
    import(elsewhere, "--yes").ok().unwrap();
    assert_eq!(Profile::read(&kept).unwrap().key_file, None);
    fs::remove_file(&kept).unwrap();
    // Their own key file may be named; it is the user who does.
    import(good.clone(), "--yes --key-file ./mine.key").ok().unwrap();
    assert!(Profile::read(&kept).unwrap().key_file.unwrap().ends_with("mine.key"));
    fs::remove_file(&kept).unwrap();

    for (from, to, expected) in [
        ("\"version\": 1,", "\"version\": 1, \"run\": \"x\",", "unknown field `run`"),
        ("\\\"measurements\\\"", "\\\"measuring\\\"", "the reference in the profile /"),
        ("\\\"expires\\\"", "\\\"expiry\\\"", "the policy in the profile /"),
        ("\"simulatedRoot\": \"", "\"simulatedRoot\": \"AAAA", "simulated root"),
    ] {
        assert!(good.contains(from), "{from} is not in {good}");
        let failure = import(good.replace(from, to), "--yes").err().unwrap();
        assert!(failure.message.contains(expected), "{}", failure.message);
        assert!(!kept.exists());
    }
    let long = " ".repeat(crate::limits::PROFILE_BYTES_MAX) + &good;
    assert!(import(long, "--yes").err().unwrap().message.contains("expected at most"));
    for name in ["..", ".hidden", "a\\b"] {
        let failure = import(good.clone(), &format!("{name} --yes")).err().unwrap();
        assert_eq!(failure.exit, Exit::Usage, "{name}");
    }
    assert!(!kept.exists());
}

#[test]
fn what_cannot_be_read_is_listed_as_such() {
    let folder = Folder::new();
    assert_eq!(json(&line("profile list", &folder).ok().unwrap())["profiles"].to_string(), "[]");
    fs::create_dir_all(folder.join("config/profiles")).unwrap();
    fs::write(folder.join("config/profiles/bad.json"), "{}").unwrap();
    fs::write(folder.join("config/profiles/.hidden.json"), "{}").unwrap();
    let listed = json(&line("profile list", &folder).ok().unwrap());
    assert_eq!(listed["profiles"].as_array().unwrap().len(), 1);
    assert!(listed["profiles"][0]["error"].as_str().unwrap().contains("is not a profile"));
    let failure = line("profile show absent", &folder).err().unwrap();
    assert_eq!(failure.exit, Exit::NotFoundOrConflict);
    assert!(failure.to_text().contains("profile list"), "{}", failure.to_text());
}

/// Signs the reference values of a test, as the image's builder does.
fn sign(builder: &PKey<Private>, reference: &Path) {
    let text = fs::read(reference).unwrap();
    let mut signature = [0; 64];
    let mut signer = Signer::new_without_digest(builder).unwrap();
    signer.sign_oneshot(&mut signature, &signed_message(&text)).unwrap();
    let file = format!("{}.sig", reference.display());
    fs::write(file, format!("{}\n", Signature(signature))).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn reference_values_bear_the_signature_of_the_key_that_is_pinned_for_them() {
    let folder = Folder::new();
    let host = Host::start(vec![Evidence::Genuine], vec![]).await;
    let files = host.files(&folder.0);
    let reference = Path::new(&files[1]);
    let [builder, other] = [(); 2].map(|()| PKey::generate_ed25519().unwrap());
    let key = PublicKey(builder.raw_public_key().unwrap().try_into().unwrap());
    let path = folder.join("own.json");
    let given = format!("verify {} {} --profile {}", host.url, files.join(" "), path.display());
    let run = |line: String| run_line(line, environment(&folder));
    let refused = |failure: Failure, part: &str| {
        assert_eq!(failure.exit, Exit::Error);
        let text = failure.to_text();
        assert!(text.contains(part) && text.contains("--reference-key"), "{text}");
    };
    let pinned = format!("{given} --reference-key {key} --save-profile");
    refused(run(pinned.clone()).await.err().unwrap(), "cannot read");
    sign(&other, reference);
    refused(run(pinned.clone()).await.err().unwrap(), "is not a signature of the reference key");
    assert_eq!(host.connections().len(), 0, "nothing is asked before the signature is right");
    sign(&builder, reference);
    run(pinned).await.ok().unwrap();
    assert_eq!(Profile::read(&path).unwrap().reference_key, Some(key));

    // From now on the profile asks for it: for another file too, to the byte.
    run(given.clone()).await.ok().unwrap();
    fs::write(reference, fs::read_to_string(reference).unwrap() + "\n").unwrap();
    refused(run(given.clone()).await.err().unwrap(), "is not a signature of the reference key");
    fs::write(format!("{}.sig", reference.display()), "AAAA").unwrap();
    let malformed = run(given).await.err().unwrap().to_text();
    assert!(malformed.contains("expected padded base64 of 64 bytes"), "{malformed}");
    // Its own copy was checked; a key for no file is a mistake.
    let own = format!("--profile {} verify", path.display());
    run(own.clone()).await.ok().unwrap();
    let failure = run(format!("{own} --reference-key {key}")).await.err().unwrap();
    assert_eq!(failure.exit, Exit::Usage);
}
