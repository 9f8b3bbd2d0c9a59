//! What every line of the table has to say of a field or of a secret's key that is missing, whether it puts the secret on,
//! signs with it or exchanges it: which one it is, before anybody is asked, and nothing of the values that are there.

use control::refusal::Code;
use futures_util::FutureExt as _;

use super::super::exchanges::{GOOD, Scripted};
use super::*;

/// Fields with which each scheme can be built: those of the golden requests, and of the schemes with suites of their own.
fn built() -> Vec<(&'static str, Fields)> {
    let role = fields([
        ("assumeRole.arn", text("arn:aws:iam::123456789012:role/bot")),
        ("region", text("eu-west-1")),
    ]);
    let signed = fields([("sign", template("{{body}}")), ("param", text("signature"))]);
    let own = [
        ("aws-sigv4", fields([])),
        ("aws-sigv4", role),
        ("hmac", signed),
        ("digest", fields([])),
        ("mtls", fields([])),
    ];
    cases().into_iter().map(|case| (case.scheme, case.fields)).chain(own).collect()
}

fn spec(name: &str) -> &'static SchemeSpec {
    specs().iter().find(|spec| spec.name == name).unwrap()
}

#[test]
fn every_scheme_names_each_field_that_it_needs() {
    let needed = |spec: &'static SchemeSpec| {
        let all = spec.auth_fields.iter().chain(spec.inject_fields);
        all.filter(|field| field.required).map(|field| (spec.name, field.name))
    };
    let mut left: BTreeSet<_> = specs().iter().copied().flat_map(needed).collect();
    for (name, fields) in built() {
        for (_, field) in needed(spec(name)).filter(|(_, field)| fields.0.contains_key(field)) {
            let mut without = fields.clone();
            without.0.remove(field);
            let error = build(name, &without).unwrap_err();
            // `query` has one field under two names.
            let is_needed = |missing| needed(spec(name)).any(|(_, own)| own == missing);
            let names = matches!(error, BuildError::Missing(missing) if is_needed(missing));
            assert!(
                names && (error.to_string().contains(field) || name == "query"),
                "{name}: {field}: {error}"
            );
            left.remove(&(name, field));
        }
    }
    assert_eq!(left, BTreeSet::new(), "fields that no test leaves out");
}

/// Keys that stand beside a scheme's own.
const BESIDE: &[&str] = &["client_id", "app_id", "installation_id", "username", "access_key_id", "id"];

#[test]
fn every_scheme_names_the_key_that_a_secret_lacks_and_asks_nobody() {
    let mut tested = BTreeSet::new();
    // A certificate is the connection's: `journeys/mtls.rs` shows what becomes of a secret without it.
    for (name, fields) in built().into_iter().filter(|(name, _)| *name != "mtls") {
        let scheme = build(name, &fields).unwrap();
        let own: Vec<String> = spec(name).default_keys.iter().map(|key| (*key).to_owned()).collect();
        let opened = opened(&[("other", "c4nary-c4nary")]);
        let values = Values::new(&opened, &own);
        let told = match scheme.exchange() {
            None => scheme.arm(&values).unwrap_err().to_string(),
            Some(exchange) => {
                let issuer = Scripted::new(200, GOOD);
                let failed = exchange.obtain(&issuer, values).now_or_never().unwrap().unwrap_err();
                assert_eq!(failed.refusal.code, Code::Dw1004, "{name}");
                assert!(issuer.asked.lock().is_empty(), "{name} asked its issuer");
                failed.refusal.detail.into_owned()
            }
        };
        let mut keys = own.iter().map(String::as_str).chain(BESIDE.iter().copied());
        assert!(keys.any(|key| told.contains(&format!("`{key}`"))), "{name}: {told}");
        assert!(!told.contains("c4nary"), "{name}: {told}");
        tested.insert(name);
    }
    let table: BTreeSet<&str> = specs().iter().map(|spec| spec.name).filter(|name| *name != "mtls").collect();
    assert_eq!(tested, table);
}
