//! The web's interfaces against their specifications, odd inputs first.

use neo_secrets_worker_protocol::{Failure, FetchResponse, Header, Redirect};

use crate::driver::{Server, Worker, eval, invoke, once, table};

#[test]
fn text_encoder() {
    table(&[
        ("new TextEncoder().encoding", r#""utf-8""#),
        ("[...new TextEncoder().encode('aä€😀')]", "[97,195,164,226,130,172,240,159,152,128]"),
        ("[...new TextEncoder().encode('\\ud800x')]", "[239,191,189,120]"),
        ("[...new TextEncoder().encode()]", "[]"),
        ("[...new TextEncoder().encode(undefined)]", "[]"),
        ("[...new TextEncoder().encode(null)]", "[110,117,108,108]"),
        ("[...new TextEncoder().encode('\\0')]", "[0]"),
        ("new TextEncoder().encode('x') instanceof Uint8Array", "true"),
        ("new TextEncoder().encode(Symbol())", "!TypeError"),
        ("new TextEncoder().encodeInto('a€b', new Uint8Array(4))", r#"{"read":2,"written":4}"#),
        ("new TextEncoder().encodeInto('a€b', new Uint8Array(3))", r#"{"read":1,"written":1}"#),
        ("new TextEncoder().encodeInto('😀', new Uint8Array(4))", r#"{"read":2,"written":4}"#),
        ("new TextEncoder().encodeInto('a', [])", "!TypeError"),
        ("new TextEncoder().encodeInto('a')", "!TypeError"),
        ("TextEncoder()", "!TypeError"),
    ]);
}

#[test]
fn text_decoder() {
    let bytes = |list: &str| format!("new Uint8Array([{list}])");
    let decode = |list: &str| format!("new TextDecoder().decode({})", bytes(list));
    let fatal =
        |list: &str| format!("new TextDecoder('utf8', {{ fatal: true }}).decode({})", bytes(list));
    let cases = [
        (decode("97, 226, 130, 172"), r#""a€""#),
        (decode("255"), "\"\u{fffd}\""),
        (decode("0xF0, 0x9F, 0x92"), "\"\u{fffd}\""),
        (decode("0xED, 0xA0, 0x80"), "\"\u{fffd}\u{fffd}\u{fffd}\""),
        (decode("0xC0, 0x80"), "\"\u{fffd}\u{fffd}\""),
        (decode("0xEF, 0xBB, 0xBF, 97"), r#""a""#),
        (decode("0xEF, 0xBB, 0xBF, 0xEF, 0xBB, 0xBF"), "\"\u{feff}\""),
        (fatal("255"), "!TypeError"),
        (fatal("0xE2, 0x82"), "!TypeError"),
        (fatal("0xE2, 0x82, 0xAC"), r#""€""#),
    ];
    let cases: Vec<_> = cases.iter().map(|(code, json)| (code.as_str(), *json)).collect();
    table(&cases);
    table(&[
        ("new TextDecoder().decode()", r#""""#),
        ("new TextDecoder(' UTF-8\\n').encoding", r#""utf-8""#),
        ("new TextDecoder('latin1')", "!RangeError"),
        ("new TextDecoder('utf-16le')", "!RangeError"),
        (
            "new TextDecoder('utf-8', { ignoreBOM: true }).decode(new Uint8Array([0xEF, 0xBB, 0xBF]))",
            "\"\u{feff}\"",
        ),
        ("new TextDecoder('utf-8', { fatal: 1 }).fatal", "true"),
        ("new TextDecoder('utf-8', 1)", "!TypeError"),
        ("new TextDecoder().decode(new Uint8Array([97, 98]).buffer)", r#""ab""#),
        (
            "new TextDecoder().decode(new DataView(new Uint8Array([97, 98, 99]).buffer, 1, 1))",
            r#""b""#,
        ),
        ("new TextDecoder().decode(new Uint16Array([0x6161]))", r#""aa""#),
        ("new TextDecoder().decode('text')", "!TypeError"),
        // A stream: an unfinished character waits, the mark is looked for once.
        (
            "(() => { const d = new TextDecoder(); return [d.decode(new Uint8Array([0xE2]), { stream: true }), d.decode(new Uint8Array([0x82]), { stream: true }), d.decode(new Uint8Array([0xAC])), d.decode(new Uint8Array([0xAC]))]; })()",
            "[\"\",\"\",\"€\",\"\u{fffd}\"]",
        ),
        (
            "(() => { const d = new TextDecoder(); return [d.decode(new Uint8Array([0xEF, 0xBB]), { stream: true }), d.decode(new Uint8Array([0xBF, 97]), { stream: true }), d.decode(new Uint8Array([0xEF, 0xBB, 0xBF]))]; })()",
            "[\"\",\"a\",\"\u{feff}\"]",
        ),
        (
            "(() => { const d = new TextDecoder('utf-8', { fatal: true }); try { d.decode(new Uint8Array([255])); } catch {} return d.decode(new Uint8Array([97])); })()",
            r#""a""#,
        ),
        (
            "(() => { const d = new TextDecoder(); d.decode(new Uint8Array([0xE2]), { stream: true }); return d.decode(); })()",
            "\"\u{fffd}\"",
        ),
    ]);
}

#[test]
fn base64() {
    table(&[
        ("btoa('')", r#""""#),
        ("btoa('a')", r#""YQ==""#),
        ("btoa('\\xff\\0')", r#""/wA=""#),
        ("btoa(undefined)", r#""dW5kZWZpbmVk""#),
        ("btoa('€')", "!InvalidCharacterError"),
        ("atob('YQ==')", r#""a""#),
        ("atob('YQ')", r#""a""#),
        ("atob(' Y Q = = ')", r#""a""#),
        ("atob('\\tYWI\\n')", r#""ab""#),
        ("atob('')", r#""""#),
        ("atob('YQ=')", "!InvalidCharacterError"),
        ("atob('Y')", "!InvalidCharacterError"),
        ("atob('YQ===')", "!InvalidCharacterError"),
        ("atob('Y=Q=')", "!InvalidCharacterError"),
        ("atob('Y-_Q')", "!InvalidCharacterError"),
        ("atob('Y\\u00a0')", "!InvalidCharacterError"),
        // Bits beyond the last byte are dropped.
        ("atob('YR==')", r#""a""#),
        ("[...atob('/wA=')].map((c) => c.charCodeAt(0))", "[255,0]"),
    ]);
}

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

#[test]
fn headers() {
    table(&[
        ("new Headers({ 'Content-Type': ' text/html\\t' }).get('CONTENT-TYPE')", r#""text/html""#),
        ("[...new Headers([['b', '2'], ['A', '1'], ['b', '3']])]", r#"[["a","1"],["b","2, 3"]]"#),
        (
            "[...new Headers([['set-cookie', 'a=1'], ['Set-Cookie', 'b=2']])]",
            r#"[["set-cookie","a=1"],["set-cookie","b=2"]]"#,
        ),
        (
            "new Headers([['set-cookie', 'a=1'], ['set-cookie', 'b=2']]).getSetCookie()",
            r#"["a=1","b=2"]"#,
        ),
        ("new Headers().get('x')", "null"),
        ("new Headers({ 'a b': '1' })", "!TypeError"),
        ("new Headers({ '': '1' })", "!TypeError"),
        ("new Headers({ 'ä': '1' })", "!TypeError"),
        ("new Headers({ a: 'x\\r\\nb: y' })", "!TypeError"),
        ("new Headers({ a: 'x\\0' })", "!TypeError"),
        ("new Headers({ a: '€' })", "!TypeError"),
        ("new Headers({ a: 'ä' }).get('a')", r#""ä""#),
        ("new Headers(null)", "!TypeError"),
        ("new Headers([['a']])", "!TypeError"),
        ("new Headers(new Headers({ a: '1' })).get('a')", r#""1""#),
        (
            "(() => { const h = new Headers({ a: '1' }); h.append('a', ''); h.set('b', 2); h.delete('B'); return [h.get('a'), h.has('b')]; })()",
            r#"["1, ",false]"#,
        ),
        (
            "(() => { const h = new Headers([['a', '1'], ['b', '2'], ['a', '3']]); h.set('A', 'x'); return [...h]; })()",
            r#"[["a","x"],["b","2"]]"#,
        ),
    ]);
}

#[test]
fn responses() {
    table(&[
        ("new Response('a€').text()", r#""a€""#),
        ("new Response('\\ufeffx').text()", r#""x""#),
        ("new Response('x').headers.get('content-type')", r#""text/plain;charset=UTF-8""#),
        ("new Response('{\"a\":1}').json()", r#"{"a":1}"#),
        ("new Response('nope').json()", "!SyntaxError"),
        (
            "new Response(new Uint8Array([1, 2]).buffer).arrayBuffer().then((b) => b.byteLength)",
            "2",
        ),
        ("new Response('ab').bytes().then((b) => [...b])", "[97,98]"),
        (
            "(async () => { const r = new Response('x'); await r.text(); return r.bodyUsed; })()",
            "true",
        ),
        (
            "(async () => { const r = new Response('x'); await r.text(); return r.text(); })()",
            "!TypeError",
        ),
        (
            "(async () => { const r = new Response('x'); const c = r.clone(); return [await r.text(), await c.text()]; })()",
            r#"["x","x"]"#,
        ),
        (
            "(async () => { const r = new Response(); return [await r.text(), r.bodyUsed, r.ok, r.status]; })()",
            r#"["",false,true,200]"#,
        ),
        ("new Response('x', { status: 204 })", "!TypeError"),
        ("new Response('x', { status: 199 })", "!RangeError"),
        ("new Response('x', { status: 404 }).ok", "false"),
        ("Response.json({ a: 1 }).headers.get('content-type')", r#""application/json""#),
        ("Response.json(undefined)", "!TypeError"),
    ]);
}

#[test]
fn fetch_is_a_message() {
    let mut server = Server::default();
    server.fetch = Box::new(|request| {
        if request.url.contains("refused") {
            return Err(Failure(
                "the host refused.test is not in the function's egress list".into(),
            ));
        }
        let header = |name: &str, value: &[u8]| Header { name: name.into(), value: value.into() };
        Ok(FetchResponse {
            status: 201,
            status_text: "Created".into(),
            url: format!("{}?redirected", request.url),
            redirected: true,
            headers: vec![
                header("X-Latin", b"\xe4"),
                header("Set-Cookie", b"a=1"),
                header("Set-Cookie", b"b=2"),
            ],
            body: br#"{"answer":42}"#.to_vec(),
        })
    });
    let code = "async function main() {
      const response = await fetch(new URL('https://API.test/v1#part'), {
        method: 'post', headers: { Authorization: 'Bearer \\u00e4' }, body: JSON.stringify({ a: 1 }), redirect: 'error',
      });
      const { status, statusText, ok, url, redirected } = response;
      const shown = [status, statusText, ok, url, redirected, response.headers.get('x-latin'), response.headers.getSetCookie(), await response.json()];
      const failed = await fetch('https://refused.test').catch((error) => [error.name, error.message]);
      await fetch('https://api.test/form', { method: 'PUT', body: new URLSearchParams('a=ä') });
      await fetch('https://api.test/bytes', { method: 'PATCH', body: new Uint8Array([0, 255]), headers: [['content-type', 'x/y']] });
      return [...shown, failed];
    }";
    let run = Worker::loaded(code).run(invoke(), &mut server);
    let expected = serde_json::json!([
        201, "Created", true, "https://api.test/v1?redirected", true, "ä", ["a=1", "b=2"], { "answer": 42 },
        ["TypeError", "the host refused.test is not in the function's egress list"],
    ]);
    let result: serde_json::Value = serde_json::from_str(run.result()).unwrap();
    assert_eq!(result, expected);
    let [post, get, put, patch] = run.fetches.try_into().unwrap();
    assert_eq!((post.method.as_str(), post.url.as_str()), ("POST", "https://api.test/v1"));
    assert_eq!(post.redirect, Redirect::Error);
    let header = |name: &str, value: &[u8]| Header { name: name.into(), value: value.into() };
    let text = header("content-type", b"text/plain;charset=UTF-8");
    assert_eq!(post.headers, [header("authorization", b"Bearer \xe4"), text]);
    assert_eq!(post.body.as_deref(), Some(br#"{"a":1}"#.as_slice()));
    assert_eq!((get.method.as_str(), get.body, get.redirect), ("GET", None, Redirect::Follow));
    assert_eq!(put.body.as_deref(), Some(b"a=%C3%A4".as_slice()));
    let form = header("content-type", b"application/x-www-form-urlencoded;charset=UTF-8");
    assert_eq!(put.headers, [form]);
    assert_eq!((patch.method.as_str(), patch.body), ("PATCH", Some(vec![0, 255])));
    assert_eq!(patch.headers, [header("content-type", b"x/y")]);
}

#[test]
fn fetch_refuses_what_no_request_may_be() {
    table(&[
        ("fetch()", "!TypeError"),
        ("fetch('/relative')", "!TypeError"),
        ("fetch('https://u:p@e.test')", "!TypeError"),
        ("fetch('https://e.test', { method: 'TRACE' })", "!TypeError"),
        ("fetch('https://e.test', { method: 'a b' })", "!TypeError"),
        ("fetch('https://e.test', { body: 'x' })", "!TypeError"),
        ("fetch('https://e.test', { method: 'HEAD', body: 'x' })", "!TypeError"),
        ("fetch('https://e.test', { redirect: 'maybe' })", "!TypeError"),
        ("fetch('https://e.test', { headers: { 'a\\n': '1' } })", "!TypeError"),
        ("fetch('https://e.test', 5)", "!TypeError"),
        ("fetch(`https://e.test/${'x'.repeat(9000)}`)", "!RangeError"),
        (
            "fetch('https://e.test', { method: 'POST', body: new Uint8Array(5242881) })",
            "!RangeError",
        ),
        (
            "fetch('https://e.test', { headers: Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`h${i}`, '1'])) })",
            "!RangeError",
        ),
    ]);
}

#[test]
fn many_fetches_wait_for_their_turn_and_come_back_to_their_own() {
    let response = |request: &neo_secrets_worker_protocol::FetchRequest| {
        Ok(FetchResponse {
            status: 200,
            status_text: String::new(),
            url: request.url.clone(),
            redirected: false,
            headers: vec![],
            body: request.url.clone().into_bytes(),
        })
    };
    let mut server = Server { fetch: Box::new(response), answers_late: true, ..Server::default() };
    let code = "async function main() {
      const urls = Array.from({ length: 300 }, (_, i) => `https://e.test/${i}`);
      const texts = await Promise.all(urls.map(async (url) => (await fetch(url)).text()));
      return texts.every((text, i) => text === urls[i]);
    }";
    let run = Worker::loaded(code).run(invoke(), &mut server);
    assert_eq!((run.result(), run.fetches.len()), ("true", 300));
}

#[test]
fn a_thousand_requests_are_enough() {
    let code = "async function main({ secrets }) {
      let count = 0;
      try { for (;;) { await secrets.get('api-key'); count += 1; } } catch (error) { return [count, error.name]; }
    }";
    let mut worker = Worker::loaded(code);
    let mut server = Server::default();
    assert_eq!(worker.run(invoke(), &mut server).result(), r#"[1000,"RangeError"]"#);
    assert_eq!(worker.run(invoke(), &mut server).result(), r#"[1000,"RangeError"]"#, "each time");
}

#[test]
fn crypto_digests() {
    let hex = "(async (name, text) => [...new Uint8Array(await crypto.subtle.digest(name, new TextEncoder().encode(text)))].map((b) => b.toString(16).padStart(2, '0')).join(''))";
    // FIPS 180-4's examples.
    let cases = [
        (format!("{hex}('SHA-1', 'abc')"), r#""a9993e364706816aba3e25717850c26c9cd0d89d""#),
        (format!("{hex}('sha-256', 'abc')"), r#""ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad""#),
        (format!("{hex}({{ name: 'SHA-384' }}, 'abc')"), r#""cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7""#),
        (format!("{hex}('SHA-512', 'abc')"), r#""ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f""#),
        (format!("{hex}('SHA-256', '')"), r#""e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855""#),
        (format!("{hex}('MD5', 'abc')"), "!NotSupportedError"),
        (format!("{hex}(undefined, 'abc')"), "!TypeError"),
        ("crypto.subtle.digest('SHA-256', 'text')".to_owned(), "!TypeError"),
        ("crypto.subtle.digest('SHA-256')".to_owned(), "!TypeError"),
        ("crypto.subtle.digest('SHA-256', new ArrayBuffer(3)).then((d) => d instanceof ArrayBuffer)".to_owned(), "true"),
    ];
    let cases: Vec<_> = cases.iter().map(|(code, json)| (code.as_str(), *json)).collect();
    table(&cases);
}

/// RFC 4231: key, data, and the HMAC by SHA-256, SHA-384 and SHA-512.
const RFC_4231: [(&str, &str, [&str; 3]); 3] = [
    (
        "new Uint8Array(20).fill(0x0b)",
        "'Hi There'",
        [
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
            "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
        ],
    ),
    (
        "new TextEncoder().encode('Jefe')",
        "'what do ya want for nothing?'",
        [
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ],
    ),
    (
        "new Uint8Array(131).fill(0xaa)",
        "'Test Using Larger Than Block-Size Key - Hash Key First'",
        [
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
            "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598",
        ],
    ),
];

#[test]
fn crypto_hmac() {
    for (key, data, signatures) in RFC_4231 {
        for (hash, expected) in ["SHA-256", "SHA-384", "SHA-512"].iter().zip(signatures) {
            let got = eval(&format!(
                "const data = new TextEncoder().encode({data});
                const key = await crypto.subtle.importKey('raw', {key}, {{ name: 'HMAC', hash: '{hash}' }}, false, ['sign', 'verify']);
                const signature = new Uint8Array(await crypto.subtle.sign('HMAC', key, data));
                const good = await crypto.subtle.verify({{ name: 'hmac' }}, key, signature, data);
                const short = await crypto.subtle.verify('HMAC', key, signature.slice(1), data);
                signature[0] ^= 1;
                const bad = await crypto.subtle.verify('HMAC', key, signature, data);
                signature[0] ^= 1;
                return [[...signature].map((b) => b.toString(16).padStart(2, '0')).join(''), good, short, bad];"
            ));
            assert_eq!(got, format!(r#"["{expected}",true,false,false]"#), "{hash}, {data}");
        }
    }
    let import = "crypto.subtle.importKey";
    let cases = [
        // RFC 2202, case 2.
        (
            format!(
                "{import}('raw', new TextEncoder().encode('Jefe'), {{ name: 'HMAC', hash: {{ name: 'SHA-1' }} }}, true, ['sign']).then((k) => crypto.subtle.sign('HMAC', k, new TextEncoder().encode('what do ya want for nothing?'))).then((s) => [...new Uint8Array(s)].slice(0, 4))"
            ),
            "[239,252,223,106]",
        ),
        (
            format!(
                "{import}('raw', new Uint8Array(3), {{ name: 'HMAC', hash: 'SHA-256' }}, true, ['verify', 'verify']).then((k) => [k.type, k.extractable, k.usages, k.algorithm, k instanceof CryptoKey])"
            ),
            r#"["secret",true,["verify"],{"name":"HMAC","length":24,"hash":{"name":"SHA-256"}},true]"#,
        ),
        (
            format!(
                "{import}('raw', new Uint8Array(3), {{ name: 'HMAC', hash: 'SHA-256' }}, true, ['verify']).then((k) => crypto.subtle.sign('HMAC', k, new Uint8Array(1)))"
            ),
            "!InvalidAccessError",
        ),
        (
            format!(
                "{import}('raw', new Uint8Array(0), {{ name: 'HMAC', hash: 'SHA-256' }}, true, ['sign'])"
            ),
            "!DataError",
        ),
        (
            format!(
                "{import}('raw', new Uint8Array(3), {{ name: 'HMAC', hash: 'SHA-256' }}, true, [])"
            ),
            "!SyntaxError",
        ),
        (
            format!(
                "{import}('raw', new Uint8Array(3), {{ name: 'HMAC', hash: 'SHA-256' }}, true, ['encrypt'])"
            ),
            "!SyntaxError",
        ),
        (
            format!("{import}('jwk', {{}}, {{ name: 'HMAC', hash: 'SHA-256' }}, true, ['sign'])"),
            "!NotSupportedError",
        ),
        (
            format!("{import}('raw', new Uint8Array(16), 'AES-GCM', true, ['encrypt'])"),
            "!NotSupportedError",
        ),
        (format!("{import}('raw', new Uint8Array(3), 'HMAC', true, ['sign'])"), "!TypeError"),
        ("crypto.subtle.sign('HMAC', {}, new Uint8Array(1))".to_owned(), "!TypeError"),
        ("new CryptoKey()".to_owned(), "!TypeError"),
    ];
    let cases: Vec<_> = cases.iter().map(|(code, json)| (code.as_str(), *json)).collect();
    table(&cases);
}

#[test]
fn crypto_randomness() {
    table(&[
        (
            "/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(crypto.randomUUID())",
            "true",
        ),
        ("crypto.randomUUID() === crypto.randomUUID()", "false"),
        (
            "(() => { const a = new Uint32Array(8); return crypto.getRandomValues(a) === a && a.some((n) => n > 255); })()",
            "true",
        ),
        (
            "(() => { const b = new Uint8Array(8); crypto.getRandomValues(b.subarray(4)); return [...b.slice(0, 4)]; })()",
            "[0,0,0,0]",
        ),
        ("crypto.getRandomValues(new Uint8Array(65536)).length", "65536"),
        ("crypto.getRandomValues(new Uint8Array(65537))", "!QuotaExceededError"),
        ("crypto.getRandomValues(new Float64Array(1))", "!TypeMismatchError"),
        ("crypto.getRandomValues(new DataView(new ArrayBuffer(1)))", "!TypeMismatchError"),
        ("crypto.getRandomValues([0])", "!TypeMismatchError"),
        ("crypto.getRandomValues(new BigInt64Array(1)).length", "1"),
    ]);
}

#[test]
fn timers_keep_their_order() {
    let code = "async function main() {
      const out = [];
      const note = (...values) => out.push(values.join());
      setTimeout(note, 20, 'c'); setTimeout(note, 5, 'b', 2); setTimeout(note, 0, 'a'); setTimeout(note, 0, 'a2');
      setTimeout(() => { note('f'); Promise.resolve().then(() => note('microtask')); setTimeout(note, 0, 'nested'); });
      clearTimeout(setTimeout(note, 1, 'never')); clearTimeout(12345); clearTimeout();
      queueMicrotask(() => note('first'));
      let ticks = 0;
      const id = setInterval(() => { ticks += 1; if (ticks === 3) clearInterval(id); }, 1);
      await new Promise((resolve) => setTimeout(resolve, 60));
      return [out, ticks, typeof id];
    }";
    assert_eq!(
        once(code).result(),
        r#"[["first","a","a2","f","microtask","nested","b,2","c"],3,"number"]"#
    );
    table(&[
        ("setTimeout('code')", "!TypeError"),
        ("setTimeout()", "!TypeError"),
        ("new Promise((resolve) => setTimeout(resolve, -5, 'negative'))", r#""negative""#),
        ("new Promise((resolve) => setTimeout(resolve, NaN, 'nan'))", r#""nan""#),
        ("new Promise((resolve) => setTimeout(resolve, 2 ** 32, 'wraps'))", r#""wraps""#),
        (
            "(async () => { const start = Date.now(); await new Promise((r) => setTimeout(r, 30)); return Date.now() - start >= 29; })()",
            "true",
        ),
        (
            "(() => { for (let i = 0; i < 10001; i += 1) setTimeout(() => {}, 1e6); })()",
            "!RangeError",
        ),
    ]);
}

#[test]
fn waiting_costs_no_time_of_the_processor() {
    let mut worker =
        Worker::loaded("async function main() { await new Promise((r) => setTimeout(r, 1000)); }");
    let ticks = |worker: &Worker| -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", worker.pid())).unwrap();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = ticks(&worker);
    worker.run(invoke(), &mut Server::default()).result();
    // A hundredth of a second each.
    assert!(ticks(&worker) - before < 20);
}

#[test]
fn a_busy_timer_does_not_starve_a_fetch() {
    let code = "async function main({ secrets }) {
      const id = setInterval(() => {}, 0);
      const again = () => setTimeout(again, 0);
      again();
      return secrets.get('api-key');
    }";
    assert_eq!(once(code).result(), r#""s3cr3t""#);
}

#[test]
fn structured_clone() {
    table(&[
        (
            "structuredClone({ a: [1, new Date(0)], b: undefined })",
            r#"{"a":[1,"1970-01-01T00:00:00.000Z"]}"#,
        ),
        (
            "(() => { const o = {}; o.self = o; const c = structuredClone(o); return c !== o && c.self === c; })()",
            "true",
        ),
        (
            "[...structuredClone(new Map([[{ a: 1 }, new Set([2])]]))].map(([k, v]) => [k, [...v]])",
            r#"[[{"a":1},[2]]]"#,
        ),
        (
            "(() => { const b = new Uint8Array([1, 2, 3]); const c = structuredClone(b.subarray(1)); b[1] = 9; return [[...c], c.byteOffset]; })()",
            "[[2,3],1]",
        ),
        (
            "(() => { const c = structuredClone(new RangeError('x')); return [c instanceof RangeError, c.message]; })()",
            r#"[true,"x"]"#,
        ),
        ("structuredClone(/a/gi).flags", r#""gi""#),
        ("structuredClone(() => 1)", "!DataCloneError"),
        ("structuredClone({ s: Symbol() })", "!DataCloneError"),
        ("structuredClone(Promise.resolve())", "!DataCloneError"),
        ("structuredClone()", "!TypeError"),
    ]);
}

#[test]
fn console_and_log_write_lines() {
    let run = once(
        "async function main({ log }) {
          console.log('plain', 1, -0, 2n, null, undefined, Symbol('s'));
          console.log({ a: 'text', 'b-c': [1, [2, [3, [4, [5]]]]], f() {}, g: class G {} });
          console.info('%s is %d and %i, %j %o %%', 'x', '42', 3.9, { a: 1 }, [1], 'rest');
          console.debug(new Map([['k', { v: 1 }]]), new Set([1, 'a']), new Date(0), /r/g, [undefined, , 3]);
          const circle = { name: 'c' }; circle.self = circle;
          log.warn(circle, new Uint8Array([1, 2]), new Headers({ a: '1' }), new URL('https://e.test'));
          log.error(new TypeError('bad'));
          console.assert(1 === 1, 'no'); console.assert(false, 'yes');
          log.debug(); log.info('\\ud800'); console.error('e'); console.warn('w');
          console.log(Object.create(null), new (class Point { x = 1 })(), Array.from({ length: 200 }, (_, i) => i).at(-1));
        }",
    );
    assert_eq!(
        run.lines()[..5],
        [
            "plain 1 -0 2n null undefined Symbol(s)",
            "{ a: \"text\", \"b-c\": [ 1, [ 2, [ 3, [Array] ] ] ], f: [Function: f], g: [Function: G] }",
            "x is 42 and 3, {\"a\":1} [ 1 ] % rest",
            "Map(1) { \"k\" => { v: 1 } } Set(2) { 1, \"a\" } 1970-01-01T00:00:00.000Z /r/g [ undefined, , 3 ]",
            "{ name: \"c\", self: [Circular] } Uint8Array(2) [ 1, 2 ] Headers { \"a\" => \"1\" } https://e.test/",
        ]
    );
    assert_eq!(
        run.lines()[5..],
        [
            "TypeError: bad\n    at main (function.js:8:25)",
            "Assertion failed yes",
            "",
            "\u{fffd}",
            "e",
            "w",
            "{} Point { x: 1 } 199",
        ]
    );
}
