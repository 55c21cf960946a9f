//! URLs and forms, as the URL standard has them.

use url::{Url, form_urlencoded, quirks};

/// What a URL object shows: href, origin, protocol, username, password, host, hostname, port,
/// pathname, search, hash.
pub(crate) type Parts = Vec<String>;

/// The URL, if it is one.
pub(crate) fn parse(text: &str, base: Option<&str>) -> Option<Parts> {
    let base = match base {
        Some(base) => Some(Url::parse(base).ok()?),
        None => None,
    };
    Url::options().base_url(base.as_ref()).parse(text).ok().map(|url| parts(&url))
}

/// The URL with one part set; as it was where the standard ignores such a value. `None` where the
/// whole URL is set, and to none.
pub(crate) fn set(href: &str, part: &str, value: &str) -> Option<Parts> {
    let mut url = Url::parse(href).ok()?;
    match part {
        "href" => quirks::set_href(&mut url, value).ok()?,
        // The standard ignores a value that these refuse.
        "protocol" => drop(quirks::set_protocol(&mut url, value)),
        "username" => drop(quirks::set_username(&mut url, value)),
        "password" => drop(quirks::set_password(&mut url, value)),
        "host" => drop(quirks::set_host(&mut url, value)),
        "hostname" => drop(quirks::set_hostname(&mut url, value)),
        "port" => drop(quirks::set_port(&mut url, value)),
        "pathname" => quirks::set_pathname(&mut url, value),
        "search" => quirks::set_search(&mut url, value),
        "hash" => quirks::set_hash(&mut url, value),
        _ => return None,
    }
    Some(parts(&url))
}

fn parts(url: &Url) -> Parts {
    let origin = quirks::origin(url);
    let rest = [
        quirks::protocol(url),
        quirks::username(url),
        quirks::password(url),
        quirks::host(url),
        quirks::hostname(url),
        quirks::port(url),
        quirks::pathname(url),
        quirks::search(url),
        quirks::hash(url),
    ];
    let mut parts = vec![quirks::href(url).to_owned(), origin];
    parts.extend(rest.map(str::to_owned));
    parts
}

/// Names and values in turn, of `application/x-www-form-urlencoded`.
pub(crate) fn parse_form(text: &str) -> Vec<String> {
    form_urlencoded::parse(text.as_bytes())
        .flat_map(|(name, value)| [name.into_owned(), value.into_owned()])
        .collect()
}

/// The reverse.
pub(crate) fn serialize_form(names_and_values: &[String]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for pair in names_and_values.chunks_exact(2) {
        if let [name, value] = pair {
            form.append_pair(name, value);
        }
    }
    form.finish()
}
