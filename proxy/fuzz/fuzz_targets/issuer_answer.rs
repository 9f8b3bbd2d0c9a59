//! Whatever an issuer answers: what is taken for a token can go into a header, and nothing of the answer is in a refusal.
#![no_main]

use http::StatusCode;
use libfuzzer_sys::fuzz_target;
use proxy::schemes::aws_sigv4::sts_answer;
use proxy::schemes::shared::issuer::Reply;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(keys) = sts_answer::keys(bytes) {
        for value in [&keys.access_key_id, &keys.secret_access_key, &keys.session_token, &keys.expiration] {
            assert!(!value.is_empty() && value.expose().iter().all(u8::is_ascii_graphic));
        }
    }
    assert!(sts_answer::error_code(bytes).is_none_or(|code| code.len() <= 64 && code.is_ascii()));
    let Some((first, body)) = bytes.split_first() else { return };
    let status = [200, 201, 302, 400, 401, 429, 503][usize::from(*first) % 7];
    let status = StatusCode::from_u16(status).expect("a status");
    let reply = Reply { status, retry_after: None, body: body.to_vec().into() };
    match reply.refreshed("refresh_token", *first >= 128) {
        Ok(issued) => {
            // Where the token will not do, what was renewed is all that there is.
            let token = issued.fault.is_none().then_some(&issued.token);
            assert!(status.is_success() && (token.is_none() || !issued.life.is_zero()));
            let renewed = issued.renewed.iter().map(|(_, value)| value);
            for value in token.into_iter().chain(renewed) {
                assert!(value.len() >= 8 && value.expose().iter().all(u8::is_ascii_graphic));
            }
        }
        Err(failed) => {
            // Our own sentences are fixed but for a status and known error codes.
            let said = failed.refusal.detail;
            assert!(said.len() < 160 && said.is_ascii(), "{said}");
        }
    }
});
