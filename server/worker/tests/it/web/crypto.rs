//! crypto, with published vectors.

use crate::driver::{eval, table};

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
