//! URL and URLSearchParams.

use crate::driver::table;

#[test]
fn url() {
    table(&[
        (
            "new URL('HTTPS://User:Pa%20ss@EXAMPLE.com:443/a/../b?x=1#h').href",
            r##""https://User:Pa%20ss@example.com/b?x=1#h""##,
        ),
        ("new URL('../c?d', 'https://e.test/a/b/').href", r#""https://e.test/a/c?d""#),
        ("new URL('//other.test/x', 'https://e.test').href", r#""https://other.test/x""#),
        ("new URL('https://bücher.test/ä').href", r#""https://xn--bcher-kva.test/%C3%A4""#),
        ("new URL('https://0x7f.1/').hostname", r#""127.0.0.1""#),
        ("new URL('https://2130706433/').hostname", r#""127.0.0.1""#),
        ("new URL('https://[::1]:8080/').host", r#""[::1]:8080""#),
        ("new URL('https://e.test\\\\path').href", r#""https://e.test/path""#),
        ("new URL('  https://e.test/\\n').href", r#""https://e.test/""#),
        ("new URL('https://e.test:99999/')", "!TypeError"),
        ("new URL('https://exa mple.test')", "!TypeError"),
        ("new URL('/relative')", "!TypeError"),
        ("new URL('https://')", "!TypeError"),
        ("new URL()", "!TypeError"),
        ("new URL('x', 'nonsense')", "!TypeError"),
        ("URL('https://e.test')", "!TypeError"),
        ("new URL('data:text/plain,hi').pathname", r#""text/plain,hi""#),
        ("new URL('data:text/plain,hi').origin", r#""null""#),
        ("new URL('https://e.test:8443/x').origin", r#""https://e.test:8443""#),
        ("new URL('https://e.test/\\ud800').pathname", r#""/%EF%BF%BD""#),
        ("URL.canParse('nope')", "false"),
        ("URL.canParse('nope', 'https://e.test')", "true"),
        ("URL.parse('nope')", "null"),
        ("URL.parse('https://e.test').href", r#""https://e.test/""#),
        ("JSON.stringify({ u: new URL('https://e.test') })", r#""{\"u\":\"https://e.test/\"}""#),
        ("`${new URL('https://e.test')}`", r#""https://e.test/""#),
        (
            "(() => { const u = new URL('https://e.test/a?b#c'); const p = {}; for (const k of ['protocol', 'username', 'password', 'host', 'hostname', 'port', 'pathname', 'search', 'hash']) p[k] = u[k]; return p; })()",
            r##"{"protocol":"https:","username":"","password":"","host":"e.test","hostname":"e.test","port":"","pathname":"/a","search":"?b","hash":"#c"}"##,
        ),
    ]);
    let set = |part: &str, value: &str| {
        format!(
            "(() => {{ const u = new URL('https://u:p@e.test:1/a?b#c'); u.{part} = {value}; return u.href; }})()"
        )
    };
    let cases = [
        (set("protocol", "'http'"), r##""http://u:p@e.test:1/a?b#c""##),
        (set("protocol", "'mailto'"), r##""https://u:p@e.test:1/a?b#c""##),
        (set("host", "'f.test:2'"), r##""https://u:p@f.test:2/a?b#c""##),
        (set("hostname", "'f.test:2'"), r##""https://u:p@e.test:1/a?b#c""##),
        (set("port", "'443'"), r##""https://u:p@e.test/a?b#c""##),
        (set("port", "'8x'"), r##""https://u:p@e.test:8/a?b#c""##),
        (set("port", "''"), r##""https://u:p@e.test/a?b#c""##),
        (set("username", "'a b'"), r##""https://a%20b:p@e.test:1/a?b#c""##),
        (set("password", "''"), r##""https://u@e.test:1/a?b#c""##),
        (set("pathname", "'x y'"), r##""https://u:p@e.test:1/x%20y?b#c""##),
        (set("search", "''"), r##""https://u:p@e.test:1/a#c""##),
        (set("search", "'?q=ä'"), r##""https://u:p@e.test:1/a?q=%C3%A4#c""##),
        (set("hash", "''"), r##""https://u:p@e.test:1/a?b""##),
        (set("href", "'https://z.test'"), r#""https://z.test/""#),
        (set("href", "'nope'"), "!TypeError"),
        (set("origin", "'https://z.test'"), r##""https://u:p@e.test:1/a?b#c""##),
    ];
    let cases: Vec<_> = cases.iter().map(|(code, json)| (code.as_str(), *json)).collect();
    table(&cases);
}

#[test]
fn url_search_params() {
    table(&[
        ("new URLSearchParams('?a=1&b=2&a=3').getAll('a')", r#"["1","3"]"#),
        ("new URLSearchParams('a=b+c%20d%zz&e').toString()", r#""a=b+c+d%25zz&e=""#),
        ("[...new URLSearchParams('&&=&a&=b')]", r#"[["",""],["a",""],["","b"]]"#),
        ("[...new URLSearchParams({ a: 1, b: [2, 3] })]", r#"[["a","1"],["b","2,3"]]"#),
        ("[...new URLSearchParams([['a', 1], new Set(['b', 2])])]", r#"[["a","1"],["b","2"]]"#),
        ("new URLSearchParams([['a']])", "!TypeError"),
        ("new URLSearchParams([1])", "!TypeError"),
        ("new URLSearchParams(null).toString()", r#""null=""#),
        ("new URLSearchParams(undefined).size", "0"),
        ("new URLSearchParams('%FF').get('\\ufffd')", r#""""#),
        ("new URLSearchParams([['\\ud800', '*-._ ~!']]).toString()", r#""%EF%BF%BD=*-._+%7E%21""#),
        (
            "(() => { const p = new URLSearchParams('b=1&a=2&\\u{1F600}=3&\\uFFFD=4'); p.sort(); return [...p.keys()]; })()",
            "[\"a\",\"b\",\"😀\",\"\u{fffd}\"]",
        ),
        (
            "(() => { const p = new URLSearchParams('a=1&b=2&a=3'); p.set('a', 9); return `${p}`; })()",
            r#""a=9&b=2""#,
        ),
        (
            "(() => { const p = new URLSearchParams('a=1&b=2&a=3'); p.delete('a', '3'); return [`${p}`, p.has('a', '3'), p.has('a'), p.size]; })()",
            r#"["a=1&b=2",false,true,2]"#,
        ),
        ("new URLSearchParams('a').get('b')", "null"),
        ("new URLSearchParams().append('a')", "!TypeError"),
        ("new URLSearchParams().forEach(1)", "!TypeError"),
        // Bound to its URL, both ways.
        (
            "(() => { const u = new URL('https://e.test/?a=1'); const p = u.searchParams; p.append('b', 'ä'); const one = u.href; u.search = '?z=9'; const two = `${p}`; p.delete('z'); return [one, two, u.href, p === u.searchParams]; })()",
            r#"["https://e.test/?a=1&b=%C3%A4","z=9","https://e.test/",true]"#,
        ),
    ]);
}
