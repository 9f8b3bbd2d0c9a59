//! What a request carries: what of it is looked for in the answer, and where its body has its room.

use std::time::Duration;

use control::catalog::Piece;

use super::*;
use crate::limits::held::Holding;

#[test]
fn each_injection_has_its_own_echoes_with_the_longest_public_prefix_and_its_user() {
    let basic = |user| injection("basic", fields([("username", text(user))]), &[]);
    let key = Template(vec![Piece::Key("other".to_owned())]);
    let other =
        injection("header", fields([("header", text("x-a")), ("template", FieldValue::Template(key))]), &[]);
    let injector = injector(OnAgentCredential::Replace, vec![bearer(), basic("a"), other]);
    let (armed, echoes) =
        injector.arm(&opened(&[("token", VALUE), ("other", "value-of-another-host")])).unwrap();
    assert_eq!(armed.version.number, 3);
    let shown = |echo: &Echo| {
        let users = echo.basic_users.iter().map(|user| String::from_utf8(user.to_vec()).unwrap());
        let value = String::from_utf8(echo.value.to_vec()).unwrap();
        (value, echo.public_prefix, users.collect::<Vec<_>>().join(","))
    };
    let found: Vec<Vec<_>> = echoes.iter().map(|own| own.iter().map(shown).collect()).collect();
    let of = |value: &str, public, user: &str| vec![(value.to_owned(), public, user.to_owned())];
    assert_eq!(found, [of(VALUE, 4, ""), of(VALUE, 4, "a"), of("value-of-another-host", 0, "")]);
}

#[test]
fn a_body_with_its_credential_has_room_like_the_one_that_was_read_until_it_is_sent() {
    let (body, sent) = (r#"{"auth":{"key":"own"}}"#, "POST /\ncontent-type: application/json");
    let wanted = body.replace("own", VALUE);
    let placeholder = placeholder([Spot::Body("/auth/key".into())]);
    for (injection, body) in [(json(), body.to_owned()), (placeholder, body.replace("own", DUMMY))] {
        let injector = replacing(injection);
        let (armed, _) = injector.arm(&opened(&[("token", VALUE)])).unwrap();
        let place = |most: usize| {
            let (all, own) = ((Arc::default(), 1 << 20), (Arc::default(), most));
            let holding = Holding { all, own, idle: Duration::MAX, whole: Duration::MAX };
            let mut head = request(sent);
            let mut prepared = injector.prepare(&target(), &mut head).unwrap();
            prepared.hold_within(holding.clone());
            injector.read_body(&mut prepared, Bytes::from(body.clone())).unwrap();
            (injector.place(&armed, prepared, &mut head), holding)
        };
        assert_eq!(place(wanted.len() - 1).0.unwrap_err().code, Code::Dw1009);
        let (placed, holding) = place(wanted.len());
        let placed = placed.unwrap().unwrap();
        assert_eq!(placed, wanted);
        let last = placed.slice(placed.len() - 1..);
        drop(placed);
        assert_eq!(holding.lease(1).unwrap_err().code, Code::Dw1009);
        drop(last);
        holding.lease(wanted.len()).unwrap();
    }
}
