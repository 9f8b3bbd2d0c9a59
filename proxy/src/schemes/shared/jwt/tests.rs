//! Against RFC 7515, appendix A.2 and A.3: published keys, so no secrets.

use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};

use super::testing::{EC_SEC1, RSA_PKCS1, RSA_PKCS8};
use super::*;

const PAYLOAD: &[u8] = b"{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";
const CODED_PAYLOAD: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const RSA_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const EC_SIGNATURE: &str =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
const EC_PKCS8: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjpsQnnGQmL+YBIff
H1136cspYG6+0iY7X1fCE9+E9LKhRANCAAR/zc4ncPbEXUGDy+5v20t7WAczNXvp
7xO6z248e9FURcfxRM0bvZt+hyzf7bnuufSzaV1uqQskrYpGIyiFiOWt
-----END PRIVATE KEY-----
";

fn key(pem: &str) -> SigningKey {
    SigningKey::of_secret(&Secret::new(pem.as_bytes().to_vec())).unwrap()
}

fn decoded(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// Whether the public half of the key accepts the token.
fn is_signed_by(token: &str, key: &SigningKey) -> bool {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let signature = decoded(signature);
    match &key.0 {
        Pair::Rsa(pair) => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key())
            .verify(input.as_bytes(), &signature)
            .is_ok(),
        Pair::Ecdsa(pair) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key())
            .verify(input.as_bytes(), &signature)
            .is_ok(),
    }
}

#[test]
fn refuses_keys_that_cannot_sign() {
    let fault = |text: &str| SigningKey::of_pem(text.as_bytes()).unwrap_err();
    assert_eq!(fault("no key"), KeyFault::Pem(PemFault::NoKey));
    // A whole DER element that is no key.
    for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"] {
        let text = format!("-----BEGIN {label}-----\nMAA=\n-----END {label}-----\n");
        assert_eq!(fault(&text), KeyFault::Unfit, "{label}");
    }
    let other_curve = EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let der = other_curve.to_pkcs8v1().unwrap();
    let coded = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    let text = format!("-----BEGIN PRIVATE KEY-----\n{coded}\n-----END PRIVATE KEY-----");
    assert_eq!(fault(&text), KeyFault::Unfit);
}

#[test]
fn refuses_a_clock_that_stands_before_the_epoch() {
    let minute = Duration::from_secs(60);
    assert_eq!(Claims::lasting(UNIX_EPOCH - minute, Duration::ZERO, minute).unwrap_err(), SignFault);
    assert_eq!(Claims::lasting(UNIX_EPOCH, minute, minute).unwrap_err(), SignFault);
    assert_eq!(Claims::lasting(UNIX_EPOCH + minute, Duration::ZERO, Duration::MAX).unwrap_err(), SignFault);
}

#[test]
fn signs_as_rfc_7515_appendix_a2() {
    for pem in [RSA_PKCS8, RSA_PKCS1] {
        let token = key(pem).compact(br#"{"alg":"RS256"}"#, PAYLOAD).unwrap();
        assert_eq!(*token, format!("eyJhbGciOiJSUzI1NiJ9.{CODED_PAYLOAD}.{RSA_SIGNATURE}"));
        assert!(is_signed_by(&token, &key(RSA_PKCS1)));
    }
}

#[test]
fn signs_as_rfc_7515_appendix_a3() {
    let published = format!("eyJhbGciOiJFUzI1NiJ9.{CODED_PAYLOAD}.{EC_SIGNATURE}");
    for pem in [EC_PKCS8, EC_SEC1] {
        let key = key(pem);
        assert!(is_signed_by(&published, &key));
        let token = key.compact(br#"{"alg":"ES256"}"#, PAYLOAD).unwrap();
        assert!(token.starts_with(published.strip_suffix(EC_SIGNATURE).unwrap()));
        assert!(is_signed_by(&token, &key));
        assert!(!is_signed_by(&token.replace("eyJpc3Mi", "eyJpc3Nj"), &key));
    }
}

#[test]
fn a_token_says_when_it_was_made_and_what_it_is_for() {
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let claims = Claims::lasting(now, Duration::from_secs(60), Duration::from_secs(540)).unwrap();
    let token = key(EC_SEC1).sign(&[("kid", "k1")], &claims.with("iss", "a@b").with("aud", "c")).unwrap();
    let mut parts = token.split('.');
    let mut json = || serde_json::from_slice::<Value>(&decoded(parts.next().unwrap())).unwrap();
    assert_eq!(json(), serde_json::json!({"alg": "ES256", "typ": "JWT", "kid": "k1"}));
    assert_eq!(
        json(),
        serde_json::json!({"iat": 1_699_999_940, "exp": 1_700_000_540, "iss": "a@b", "aud": "c"})
    );
}

#[test]
fn the_largest_signature_has_room() {
    let key = SigningKey(Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa4096).unwrap()));
    assert!(is_signed_by(&key.compact(b"{}", b"{}").unwrap(), &key));
}

#[test]
fn debug_shows_nothing_of_a_key() {
    assert_eq!(format!("{:?}", key(RSA_PKCS8)), "SigningKey(\"RS256\")");
}
