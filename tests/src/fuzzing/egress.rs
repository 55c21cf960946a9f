//! Where a function's requests may go: a URL, and redirects seen from it.

use neo_secrets_server::egress::Target;
use neo_secrets_server::model::HostName;

use super::refused;

const ALLOWED: [&str; 2] = ["api.example.com", "xn--bcher-kva.example"];

/// A URL and, behind NULs, what each target in turn redirects to. What is accepted is https on port 443
/// of a listed host, in its normal form, and one line of HTTP. Accepted is a chain without a refusal.
pub fn url(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let hosts = ALLOWED.map(|host| HostName::parse(host.to_owned()).unwrap());
    let mut parts = text.split('\0');
    let mut target = Target::parse(parts.next().unwrap_or_default(), &hosts);
    for location in parts.take(5) {
        target = target.and_then(|target| {
            holds(&target, &hosts);
            target.join(location.as_bytes(), &hosts)
        });
    }
    match target {
        Ok(target) => {
            holds(&target, &hosts);
            true
        }
        Err(refusal) => refused(&refusal),
    }
}

fn holds(target: &Target, hosts: &[HostName]) {
    let host = target.host().as_str();
    assert!(ALLOWED.contains(&host), "{host}");
    let rest = target.as_str().strip_prefix("https://").unwrap().strip_prefix(host).unwrap();
    assert!(rest.starts_with('/') && !rest.contains('#'), "{rest}");
    assert_eq!(
        Target::parse(target.as_str(), hosts).as_ref(),
        Ok(target),
        "not in its normal form"
    );
    if let Ok(path) = target.path_and_query() {
        let path = path.to_string();
        assert!(path == rest && path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
    }
}
