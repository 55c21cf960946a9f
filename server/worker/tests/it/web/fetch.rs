//! fetch, Headers and Response.

use neo_secrets_worker_protocol::{Failure, FetchRequest, FetchResponse, Header, Redirect};

use crate::driver::{Server, Worker, invoke, response, table};

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
    let header = |name: &str, value: &[u8]| Header { name: name.into(), value: value.into() };
    let mut server = Server::fetching(move |request| {
        if request.url.contains("refused") {
            return Err(Failure("refused.test is not in the function's egress list".into()));
        }
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
        ["TypeError", "refused.test is not in the function's egress list"],
    ]);
    let result: serde_json::Value = serde_json::from_str(run.result()).unwrap();
    assert_eq!(result, expected);
    let [post, get, put, patch] = run.fetches.try_into().unwrap();
    assert_eq!((post.method.as_str(), post.url.as_str()), ("POST", "https://api.test/v1"));
    assert_eq!(post.redirect, Redirect::Error);
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
    let echo = |request: &FetchRequest| Ok(response(request, request.url.clone().into_bytes()));
    let mut server = Server { answers_late: true, ..Server::fetching(echo) };
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
