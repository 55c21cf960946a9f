//! TextEncoder, TextDecoder, base64, console, structuredClone.

use crate::driver::{once, table};

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
