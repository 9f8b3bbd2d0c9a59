//! Signatures that vendors publish as examples, and some that Python's `hmac` made where a vendor publishes none; then what is
//! refused, and what an agent may not slip in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use control::catalog::{FieldValue, Fields, Template};
use control::target::Target;

use super::super::conformance::{DUMMY, opened, request, shown};
use super::super::{Bounds, Errand, Values, build};
use super::*;

struct Case {
    sign: &'static str,
    headers: &'static [(&'static str, &'static str)],
    more: &'static [(&'static str, &'static str)],
    values: &'static [(&'static str, &'static str)],
    now: fn() -> SystemTime,
    before: &'static str,
    body: &'static str,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            sign: "{{body}}",
            headers: &[],
            more: &[],
            values: &[],
            now: || UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            before: "POST /",
            body: "",
        }
    }
}

fn template(text: &str) -> Template {
    match text.contains("{{") {
        true => Template::parse(text).unwrap(),
        false => Template(vec![Piece::Literal(text.to_owned())]),
    }
}

fn fields(case: &Case) -> Fields {
    let mut fields = Fields::default();
    fields.0.insert("sign", FieldValue::Template(template(case.sign)));
    if !case.headers.is_empty() {
        let pair = |(name, text): &(&str, &str)| (name.to_ascii_lowercase(), template(text));
        fields.0.insert("headers", FieldValue::Headers(case.headers.iter().map(pair).collect()));
    }
    for (name, text) in case.more {
        fields.0.insert(name, FieldValue::Text((*text).to_owned()));
    }
    fields
}

fn signed(case: &Case) -> String {
    let scheme = build("hmac", &fields(case)).unwrap();
    let opened = opened(case.values);
    let rendered = scheme.arm(&Values::new(&opened, &["secret".to_owned()])).unwrap();
    for (_, value) in case.values {
        let debug = format!("{scheme:?} {rendered:?}");
        assert!(!debug.contains(value), "{debug}");
    }
    let mut head = request(case.before);
    let target = Target::parse_authority("api.example.com:443").unwrap();
    let need = scheme.judge(&target, &head).unwrap();
    let body = (need == BodyNeed::Whole).then(|| Bytes::from_static(case.body.as_bytes()));
    let (dummies, bounds) = ([DUMMY.to_owned()], Bounds::default());
    let errand = Errand { agent: "a", target: &target, default_port: 443, now: case.now };
    let mut out = Outgoing::new(&mut head, &dummies, &bounds, body.clone()).towards(Some(errand));
    rendered.armed.place(&mut out).unwrap();
    assert_eq!(out.finish().unwrap(), body, "what is signed is sent as it was");
    shown(&head)
}

#[test]
fn github_webhooks() {
    let case = Case {
        headers: &[("X-Hub-Signature-256", "sha256={{signature}}")],
        values: &[("secret", "It's a Secret to Everybody")],
        body: "Hello, World!",
        before: "POST /hook\nx-hub-signature-256: sha256=agents\nX_Hub_Signature_256: agents",
        ..Case::default()
    };
    assert_eq!(
        signed(&case),
        "POST /hook\nx-hub-signature-256: sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    );
}

#[test]
fn slack_requests() {
    let case = Case {
        sign: "v0:{{timestamp}}:{{body}}",
        headers: &[("X-Slack-Signature", "v0={{signature}}"), ("X-Slack-Request-Timestamp", "{{timestamp}}")],
        values: &[("secret", "8f742231b10e8888abcd99yyyzzz85a5")],
        now: || UNIX_EPOCH + Duration::from_secs(1_531_420_618),
        body: "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
        ..Case::default()
    };
    assert_eq!(
        signed(&case),
        "POST /\nx-slack-request-timestamp: 1531420618\nx-slack-signature: v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    );
}

#[test]
fn standard_webhooks() {
    let case = Case {
        sign: "msg_p5jXN8AQM9LWM0D4loKWxJek.{{timestamp}}.{{body}}",
        headers: &[
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "{{timestamp}}"),
            ("webhook-signature", "v1,{{signature}}"),
        ],
        more: &[("encoding", "base64"), ("keyEncoding", "base64")],
        values: &[("secret", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
        now: || UNIX_EPOCH + Duration::from_secs(1_614_265_330),
        body: "{\"test\": 2432232314}",
        ..Case::default()
    };
    assert!(
        signed(&case).contains("webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=\n"),
        "{}",
        signed(&case)
    );
}

const BINANCE: &[(&str, &str)] = &[
    ("secret", "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"),
    ("api_key", "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"),
];

#[test]
fn binance_orders_in_query_and_body() {
    const SIGNATURE: &str = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71";
    let case = Case {
        sign: "{{query}}{{body}}",
        headers: &[("X-MBX-APIKEY", "{{api_key}}")],
        more: &[("param", "signature")],
        values: BINANCE,
        before: "POST /api/v3/order?symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&signature=agents&recvWindow=5000&timestamp=1499827319559&%73ignature=agents\nx-mbx-apikey: tst_dw0aaaabbbbccccddddeeee",
        ..Case::default()
    };
    let wanted = format!(
        "POST /api/v3/order?symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559&signature={SIGNATURE}\nx-mbx-apikey: vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
    );
    assert_eq!(signed(&case), wanted);
    // The vendor's third example: parameters in both, which are joined without anything between.
    let mixed = Case {
        before: "POST /api/v3/order?symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC",
        body: "quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559",
        ..case
    };
    assert!(
        signed(&mixed).contains("signature=0fd168b8ddb4876a0358a8d14d0c9f3da0e9b20c5d52b2a00fcf7d1c602f9a77"),
        "{}",
        signed(&mixed)
    );
}

#[test]
fn coinbase_exchange_orders() {
    let case = Case {
        sign: "{{timestamp}}{{method}}{{pathAndQuery}}{{body}}",
        headers: &[
            ("CB-ACCESS-KEY", "{{key_id}}"),
            ("CB-ACCESS-SIGN", "{{signature}}"),
            ("CB-ACCESS-TIMESTAMP", "{{timestamp}}"),
            ("CB-ACCESS-PASSPHRASE", "{{passphrase}}"),
        ],
        more: &[("encoding", "base64"), ("keyEncoding", "base64")],
        values: &[
            ("secret", "Y29pbmJhc2UtdGVzdC1rZXktMDEyMzQ1Njc4OWFiY2RlZi0wMTIzNDU2Nzg5YWJjZGVm"),
            ("key_id", "key-id-1"),
            ("passphrase", "correct-horse"),
        ],
        before: "POST /orders?x=1\ncb-access-sign: agents\ncb.access.key: agents",
        body: "{\"price\":\"1.0\",\"size\":\"1.0\",\"side\":\"buy\",\"product_id\":\"BTC-USD\"}",
        ..Case::default()
    };
    assert_eq!(
        signed(&case),
        "POST /orders?x=1\ncb-access-key: key-id-1\ncb-access-passphrase: correct-horse\ncb-access-sign: eaBzO0J+gGtLaOrg/QGCZT/g9Ry7nrypp8GOecV9az8=\ncb-access-timestamp: 1700000000"
    );
}

#[test]
fn okx_and_gate_requests() {
    let okx = Case {
        sign: "{{timestamp}}{{method}}{{pathAndQuery}}{{body}}",
        headers: &[("OK-ACCESS-SIGN", "{{signature}}"), ("OK-ACCESS-TIMESTAMP", "{{timestamp}}")],
        more: &[("encoding", "base64"), ("timestamp", "iso")],
        values: &[("secret", "22582BD0CFF14C41EDBF1AB98506286D")],
        before: "GET /api/v5/account/balance?ccy=BTC",
        ..Case::default()
    };
    assert_eq!(
        signed(&okx),
        "GET /api/v5/account/balance?ccy=BTC\nok-access-sign: Kz2kGZ5i6Zh1DeWpMBEgpRjEMbpjJpqdEQZiVN9QDUw=\nok-access-timestamp: 2023-11-14T22:13:20.123Z"
    );
    let gate = Case {
        sign: "{{method}}\n{{path}}\n{{query}}\n{{bodyHash}}\n{{timestamp}}",
        headers: &[("SIGN", "{{signature}}"), ("Timestamp", "{{timestamp}}")],
        more: &[("algorithm", "sha512"), ("bodyHash", "sha512-hex")],
        values: &[("secret", "secret-0123456789")],
        now: || UNIX_EPOCH + Duration::from_secs(1_541_993_715),
        before: "POST /api/v4/futures/orders?contract=BTC_USD&size=100",
        body: "{\"a\":1}",
    };
    assert_eq!(
        signed(&gate),
        "POST /api/v4/futures/orders?contract=BTC_USD&size=100\nsign: 90f7aa1dbcdaa9cfaa1a11fcc258913897f7fd26d30a29e66c1a62eaf7d4dc0fbb3687fc234f719abc802eb4b40b394cc6af2fefe6bd6c281b815abc40d3c1f4\ntimestamp: 1541993715"
    );
}

#[test]
fn the_nonce_is_another_one_for_each_request_and_signed() {
    let case = Case {
        sign: "{{nonce}}{{host}}{{path}}{{timestamp}}",
        headers: &[("X-Nonce", "{{nonce}}"), ("X-Sig", "{{signature}}")],
        more: &[("timestamp", "ms"), ("encoding", "base64url")],
        values: &[("secret", "0123456789")],
        ..Case::default()
    };
    let (one, two) = (signed(&case), signed(&case));
    assert_ne!(one, two);
    let nonce = one.lines().find_map(|line| line.strip_prefix("x-nonce: ")).unwrap();
    assert_eq!(nonce.len(), 32);
    let key = hmac::Key::new(HMAC_SHA256, b"0123456789");
    let wanted = hmac::sign(&key, format!("{nonce}api.example.com/1700000000123").as_bytes());
    assert!(one.ends_with(&URL_SAFE_NO_PAD.encode(wanted.as_ref())), "{one}");
}

#[test]
fn refuses_what_would_sign_nothing_or_send_what_signs() {
    const SIG: &[(&str, &str)] = &[("X-Sig", "{{signature}}")];
    for (sign, headers, why) in [
        ("{{timestamp}}{{nonce}}", SIG, "names neither path nor query nor body"),
        ("{{api_key}}", SIG, "names neither path nor query nor body"),
        ("{{method}}{{host}}{{timestamp}}", SIG, "names neither path nor query nor body"),
        ("{{body}}{{signature}}", SIG, "holds the signature itself"),
        ("{{body}}", &[("X-Sig", "{{timestamp}}")][..], "holds `{{signature}}` nowhere"),
        ("{{body}}", &[], "holds `{{signature}}` nowhere"),
        ("{{body}}", &[("X-Sig", "{{signature}}{{path}}")], "belongs into `sign`"),
        ("{{body}}", &[("X-Sig", "{{signature}}{{method}}")], "belongs into `sign`"),
        ("{{body}}", &[("X-Sig", "{{signature}}"), ("X_Sig", "{{signature}}")], "in two spellings"),
        ("{{body}}", &[("User-Agent", "{{signature}}")], "cannot carry a signature"),
    ] {
        let error = build("hmac", &fields(&Case { sign, headers, ..Case::default() })).unwrap_err();
        assert!(error.to_string().contains(why), "{sign} {headers:?}: {error}");
    }
    let arm = |headers, more, values| {
        let scheme = build("hmac", &fields(&Case { headers, more, ..Case::default() })).unwrap();
        scheme.arm(&Values::new(&opened(values), &["secret".to_owned()])).unwrap_err()
    };
    let signs = |key: &str| ArmFault::Signs { key: key.to_owned() };
    const BOTH: &[(&str, &str)] = &[("secret", "0123456789"), ("same", "0123456789")];
    for key in ["token", "secret", "same"] {
        let text: &'static str = format!("{{{{{key}}}}}{{{{signature}}}}").leak();
        assert_eq!(arm(vec![("X-Sig", text)].leak(), &[], BOTH), signs(key));
    }
    assert_eq!(arm(SIG, &[], &[("other", "0123456789")]).to_string(), "it has no key `secret`");
    assert_eq!(arm(SIG, &[], &[("secret", "0123456")]), ArmFault::Short { key: "token".into() });
    for (encoding, value) in
        [("hex", "0123456789abcdeg"), ("hex", "0123456789abcde"), ("base64", "not base64!")]
    {
        let more = vec![("keyEncoding", encoding)].leak();
        let fault = arm(SIG, more, vec![("secret", value)].leak());
        assert!(matches!(&fault, ArmFault::Unfit { why, .. } if why.contains(encoding)), "{fault}");
        assert!(!fault.to_string().contains(value));
    }
    assert_eq!(
        arm(SIG, &[("keyEncoding", "hex")], &[("secret", "00112233445566")]),
        ArmFault::Short { key: "token".into() }
    );
}

#[test]
fn what_is_sent_of_the_secret_is_searched_for_unless_it_is_public() {
    let echoes = |more| {
        let headers = &[("X-Sig", "{{signature}}"), ("X-Id", "{{key_id}}"), ("X-Pass", "{{passphrase}}")];
        let scheme = build("hmac", &fields(&Case { headers, more, ..Case::default() })).unwrap();
        let opened =
            opened(&[("secret", "0123456789"), ("key_id", "identifier"), ("passphrase", "open-sesame")]);
        let rendered = scheme.arm(&Values::new(&opened, &["secret".to_owned()])).unwrap();
        let mut found: Vec<_> =
            rendered.echoes.iter().map(|echo| String::from_utf8(echo.value.to_vec()).unwrap()).collect();
        found.sort();
        found
    };
    assert_eq!(echoes(&[]), ["open-sesame"]);
    assert_eq!(echoes(&[("publicKeys", "")]), ["identifier", "open-sesame"]);
    assert_eq!(echoes(&[("publicKeys", "key_id,passphrase")]), [""; 0]);
}

#[test]
fn a_signature_that_names_no_body_leaves_it_to_stream() {
    let target = Target::parse_authority("api.example.com:443").unwrap();
    for (sign, need) in [
        ("{{method}}{{path}}", BodyNeed::Nothing),
        ("{{path}}{{bodyHash}}", BodyNeed::Whole),
        ("{{body}}", BodyNeed::Whole),
    ] {
        let headers = &[("X-Sig", "{{signature}}")];
        let scheme = build("hmac", &fields(&Case { sign, headers, ..Case::default() })).unwrap();
        assert_eq!(scheme.judge(&target, &request("POST /")).unwrap(), need, "{sign}");
    }
}

#[test]
fn refuses_to_take_a_parameter_out_beside_a_semicolon() {
    let case = Case {
        sign: "{{query}}",
        more: &[("param", "sig")],
        values: &[("secret", "0123456789")],
        ..Case::default()
    };
    let scheme = build("hmac", &fields(&case)).unwrap();
    let rendered = scheme.arm(&Values::new(&opened(case.values), &["secret".to_owned()])).unwrap();
    let mut head = request("GET /?a=1;sig=x;b=2");
    let target = Target::parse_authority("api.example.com:443").unwrap();
    let (dummies, bounds) = ([DUMMY.to_owned()], Bounds::default());
    let errand = Errand { agent: "a", target: &target, default_port: 443, now: case.now };
    let mut out = Outgoing::new(&mut head, &dummies, &bounds, None).towards(Some(errand));
    assert_eq!(rendered.armed.place(&mut out).unwrap_err().code, Code::Dw2008);
}
