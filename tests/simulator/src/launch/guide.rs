//! What to type next: every line works when it is pasted into another shell in the repository's
//! root.

use std::path::Path;

use neo_secrets_attestation::config::Reveal;

/// A word of a shell command, quoted where the shell would take it apart.
pub fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:=@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A path as a command in the repository's root writes it: relative to the root where it lies
/// inside.
pub fn path_from(root: &Path, path: &Path) -> String {
    match path.strip_prefix(root) {
        Ok(inside) => format!("./{}", inside.display()),
        Err(_) => path.display().to_string(),
    }
}

/// Verify, create, list and delete, by our command line and by curl; a value and the audit log by
/// curl, the former where it may leave.
pub fn commands(client_folder: &str, url: &str, reveal: Reveal) -> String {
    let file = |name: &str| quoted(&format!("{client_folder}/{name}"));
    let (profile, certificate) = (file("profile.json"), file("server.pem"));
    let cli = format!("./target/release/neo-secrets --profile {profile}");
    // Inside double quotes only these keep a meaning; the key's file is named there.
    let mut key = format!("{client_folder}/admin.key");
    if key != quoted(&key) {
        key = quoted(&key);
    }
    let curl =
        format!(r#"curl -sS --cacert {certificate} -H "Authorization: Bearer $(cat {key})""#);
    let json = "-H 'Content-Type: application/json'";
    let (own_value, value) = match reveal {
        Reveal::Off => (String::new(), String::new()),
        Reveal::ByPermission => (
            format!("  {cli} secrets value my-secret; echo\n"),
            format!("  {curl} \"{url}/v1/secrets/$id/value\"; echo\n"),
        ),
    };
    format!(
        r#"  # Our command line. Each command verifies the machine on its own connection first.
  {cli} verify
  printf %s 'a value of your own' | {cli} secrets create my-secret
  {cli} secrets list
{own_value}  {cli} audit --limit 5
  {cli} status
  {cli} secrets delete my-secret --yes

  # The same by curl, which trusts the certificate that the verification wrote. It can't check evidence itself:
  curl -sS --cacert {certificate} "{url}/v1/attestation?nonce=$(openssl rand -hex 16)"; echo
  {curl} {json} -d '{{"name":"my-token","value":"another value"}}' {url}/v1/secrets; echo
  {curl} '{url}/v1/secrets?limit=20'; echo
  id=$({curl} '{url}/v1/secrets?prefix=my-token' | sed -n 's/.*"id":"\([^"]*\)".*/\1/p'); echo "$id"
{value}  {curl} -X DELETE "{url}/v1/secrets/$id"; echo
  {curl} '{url}/v1/audit-log?limit=5'; echo
"#
    )
}

/// Verify and claim an instance that is nobody's yet, and then use it.
pub fn claim(client_folder: &str, url: &str) -> String {
    let file = |name: &str| quoted(&format!("{client_folder}/{name}"));
    let cli = "./target/release/neo-secrets";
    let trust = format!(
        "--reference {} --policy {} --trust-simulated {}",
        file("reference.json"),
        file("policy.json"),
        file("simulated-root.der")
    );
    let (profile, pair) = (file("profile.json"), file("owner.pem"));
    format!(
        r#"  # What a new machine proves, before it is anybody's:
  {cli} verify {url} {trust} --explain

  # Take it into possession: this makes your key pair and leaves its keys and a profile beside it.
  {cli} --profile {profile} claim {url} {trust} --owner-key {pair} --out-dir {}

  # Then:
  {cli} --profile {profile} verify
  {cli} --profile {profile} secrets list
"#,
        quoted(client_folder)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_where_they_must_be() {
        assert_eq!(quoted("./.neo-secrets/client"), "./.neo-secrets/client");
        assert_eq!(quoted("my data"), "'my data'");
        assert_eq!(quoted("it's $5"), r"'it'\''s $5'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("~/x"), "'~/x'");
        assert_eq!(quoted("ä"), "'ä'");
    }

    #[test]
    fn paths_inside_the_repository_are_relative_to_it() {
        let root = Path::new("/home/me/neo");
        assert_eq!(path_from(root, Path::new("/home/me/neo/.neo-secrets")), "./.neo-secrets");
        assert_eq!(path_from(root, Path::new("/home/me/neo2")), "/home/me/neo2");
    }

    /// The shell itself says what the words of each printed command are.
    #[test]
    fn a_shell_reads_the_commands_as_they_are_meant() {
        let folder = tempfile::Builder::new().prefix("it's $HOME \"a\" ").tempdir().unwrap();
        let client = folder.path().to_str().unwrap();
        std::fs::write(folder.path().join("admin.key"), "neo_KEY\n").unwrap();
        let stub = "seen() { printf '<%s>' \"$@\"; echo; }\ncurl() { seen curl \"$@\"; }\n";
        let commands = commands(client, "https://localhost:8443", Reveal::ByPermission);
        let script =
            stub.to_owned() + &commands.replace("./target/release/neo-secrets", "seen neo-secrets");
        let output = std::process::Command::new("bash").args(["-euc", &script]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        let seen = String::from_utf8(output.stdout).unwrap();
        for expected in [
            format!("<neo-secrets><--profile><{client}/profile.json><verify>\n"),
            format!("<curl><-sS><--cacert><{client}/server.pem>"),
            "<-H><Authorization: Bearer neo_KEY><https://localhost:8443/v1/secrets?limit=20>\n"
                .to_owned(),
            r#"<-d><{"name":"my-token","value":"another value"}>"#.to_owned(),
            "/value>\n".to_owned(),
        ] {
            assert!(seen.contains(&expected), "{expected} in\n{seen}");
        }
        let off = super::commands(client, "https://localhost:8443", Reveal::Off);
        assert!(!off.contains("/value"), "{off}");
    }
}
