//! AWS' published vectors: the signing test suite (SigV4 and SigV4A), and the S3 documentation's examples.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use control::secret::Secret;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::canonical::{PathRules, Unsigned, canonical, signed_names};
use super::key::{EcdsaKey, SigningKey};
use super::scope::Stamp;
use super::sign::{Presign, Signer, authorization, hash, presigned, signature, string_to_sign};

const SUITE: &str = include_str!("../../../../tests/fixtures/aws/signing-test-suite.json");
const KEY_ID: &str = "AKIDEXAMPLE";
/// 2015-08-30T12:36:00Z
const WHEN: u64 = 1_440_938_160;

fn stamp(seconds: u64) -> Stamp {
    Stamp::at(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    body: String,
}

/// As the suite writes requests: the target may hold spaces, a value may go over several lines.
fn request(text: &str) -> Request {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let head = head.replace("\n ", " ");
    let mut lines = head.lines();
    let line = lines.next().unwrap().strip_suffix(" HTTP/1.1").unwrap();
    let (method, target) = line.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    Request {
        method: method.into(),
        path: path.into(),
        query: query.into(),
        headers,
        body: body.trim_end_matches('\n').into(),
    }
}

fn signers(kind: &str) -> Signer {
    let suite: Value = serde_json::from_str(SUITE).unwrap();
    let secret = secret(suite["secret_access_key"].as_str().unwrap());
    match kind {
        "v4" => {
            Signer::Hmac(Arc::new(SigningKey::derive(&secret, "20150830", "us-east-1", "service").unwrap()))
        }
        _ => {
            let key = Arc::new(EcdsaKey::derive(&secret, KEY_ID.as_bytes()).unwrap());
            Signer::ecdsa(key, &stamp(WHEN), "service", "us-east-1")
        }
    }
}

/// Every case of one half of the suite, as JSON, with its request.
fn cases(kind: &str) -> Vec<(Value, Request)> {
    let suite: Value = serde_json::from_str(SUITE).unwrap();
    let cases = suite[kind].as_array().unwrap().clone();
    assert_eq!(cases.len(), 38);
    cases.into_iter().map(|case| (case.clone(), request(case["request"].as_str().unwrap()))).collect()
}

fn rules(case: &Value) -> PathRules {
    PathRules { once: false, resolve_dots: case["normalize"].as_bool().unwrap() }
}

fn token(case: &Value) -> Option<&str> {
    case["token"].as_str().filter(|_| case["omit_token"] != true)
}

fn verify(case: &Value, text: &[u8], signature: &str) {
    let point = [&[4][..], &hex::decode(case["public"].as_str().unwrap())].concat();
    let signature = hex::decode(signature);
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(text, &signature).unwrap();
}

mod hex {
    pub(super) fn decode(text: &str) -> Vec<u8> {
        let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }
}

#[test]
fn every_vector_of_the_suite_signed_by_header() {
    for kind in ["v4", "v4a"] {
        let signer = signers(kind);
        for (case, mut request) in cases(kind) {
            let name = case["name"].as_str().unwrap();
            let payload = String::from_utf8(hash(request.body.as_bytes()).to_vec()).unwrap();
            let mut set = |name: &'static str, value: &str| {
                request.headers.insert(name, HeaderValue::from_str(value).unwrap());
            };
            set("x-amz-date", stamp(WHEN).text());
            if kind == "v4a" {
                set("x-amz-region-set", "us-east-1");
            }
            if let Some(token) = token(&case) {
                set("x-amz-security-token", token);
            }
            if case["sign_body"] == true {
                set("x-amz-content-sha256", &payload);
            }
            let names = signed_names(&request.headers, |_| true);
            let unsigned = Unsigned {
                method: &request.method,
                path: &request.path,
                query: &request.query,
                host: "example.amazonaws.com",
                headers: &request.headers,
                payload: &payload,
                path_rules: rules(&case),
            };
            let made = canonical(&unsigned, &names);
            assert_eq!(
                *String::from_utf8_lossy(&made),
                *case["header"]["canonical"].as_str().unwrap(),
                "{kind} {name}"
            );
            let text = string_to_sign(&signer, &stamp(WHEN), &made);
            assert_eq!(
                *String::from_utf8_lossy(&text),
                *case["header"]["string_to_sign"].as_str().unwrap(),
                "{kind} {name}"
            );
            let ours = signature(&signer, &stamp(WHEN), &unsigned, &names).unwrap();
            let published = case["header"]["signature"].as_str().unwrap();
            if kind == "v4" {
                assert_eq!(ours.0, published, "{name}");
            } else {
                verify(&case, &text, published);
                verify(&case, &text, &ours.0);
            }
        }
    }
}

#[test]
fn every_vector_of_the_suite_signed_by_query() {
    for kind in ["v4", "v4a"] {
        let signer = signers(kind);
        for (case, request) in cases(kind) {
            let name = case["name"].as_str().unwrap();
            let names = signed_names(&request.headers, |_| true);
            let payload = String::from_utf8(hash(request.body.as_bytes()).to_vec()).unwrap();
            let unsigned = Unsigned {
                method: &request.method,
                path: &request.path,
                query: &request.query,
                host: "example.amazonaws.com",
                headers: &request.headers,
                payload: &payload,
                path_rules: rules(&case),
            };
            let presign = Presign {
                key_id: KEY_ID.as_bytes(),
                session_token: token(&case).map(str::as_bytes),
                life: 3600,
            };
            let query = presigned(&signer, &stamp(WHEN), &unsigned, &names, &presign).unwrap();
            let query = std::str::from_utf8(&query).unwrap();
            let (query, ours) = query.split_once("&X-Amz-Signature=").unwrap();
            let made = canonical(&Unsigned { query, ..unsigned }, &names);
            assert_eq!(
                *String::from_utf8_lossy(&made),
                *case["query"]["canonical"].as_str().unwrap(),
                "{kind} {name}"
            );
            let text = string_to_sign(&signer, &stamp(WHEN), &made);
            assert_eq!(
                *String::from_utf8_lossy(&text),
                *case["query"]["string_to_sign"].as_str().unwrap(),
                "{kind} {name}"
            );
            let published = case["query"]["signature"].as_str().unwrap();
            if kind == "v4" {
                assert_eq!(ours, published, "{name}");
            } else {
                verify(&case, &text, published);
                verify(&case, &text, ours);
            }
        }
    }
}

#[test]
fn the_sigv4a_key_is_the_published_one_and_its_signatures_differ_each_time() {
    let (case, _) = cases("v4a").swap_remove(0);
    let Signer::Ecdsa { key, .. } = signers("v4a") else { panic!() };
    assert_eq!(key.public(), [&[4][..], &hex::decode(case["public"].as_str().unwrap())].concat());
    assert_ne!(key.sign(b"x").unwrap(), key.sign(b"x").unwrap());
}

/// docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html and sigv4-query-string-auth.html
const S3_SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const S3_KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
/// 2013-05-24T00:00:00Z
const S3_WHEN: u64 = 1_369_353_600;

fn s3_signer() -> Signer {
    Signer::Hmac(Arc::new(SigningKey::derive(&secret(S3_SECRET), "20130524", "us-east-1", "s3").unwrap()))
}

fn s3(text: &str, payload: &str) -> (String, String) {
    let request = request(text);
    let names = signed_names(&request.headers, |_| true);
    let unsigned = Unsigned {
        method: &request.method,
        path: &request.path,
        query: &request.query,
        host: "examplebucket.s3.amazonaws.com",
        headers: &request.headers,
        payload,
        path_rules: PathRules::S3,
    };
    let (signer, stamp) = (s3_signer(), stamp(S3_WHEN));
    let made = signature(&signer, &stamp, &unsigned, &names).unwrap();
    let header = authorization(&signer, S3_KEY_ID.as_bytes(), &names, &made);
    (made.0, String::from_utf8(header.to_vec()).unwrap())
}

#[test]
fn the_examples_of_the_s3_documentation_signed_by_header() {
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let end = format!("x-amz-content-sha256:{EMPTY}\nx-amz-date:20130524T000000Z");
    let (made, header) = s3(&format!("GET /test.txt HTTP/1.1\nRange:bytes=0-9\n{end}"), EMPTY);
    assert_eq!(made, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
    assert_eq!(
        header,
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
         SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, \
         Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    );
    let (made, _) = s3(&format!("GET /?lifecycle HTTP/1.1\n{end}"), EMPTY);
    assert_eq!(made, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
    let (made, _) = s3(&format!("GET /?max-keys=2&prefix=J HTTP/1.1\n{end}"), EMPTY);
    assert_eq!(made, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
    let hash = String::from_utf8(hash(b"Welcome to Amazon S3.").to_vec()).unwrap();
    let put = "PUT /test$file.text HTTP/1.1\nDate:Fri, 24 May 2013 00:00:00 GMT\nx-amz-storage-class:REDUCED_REDUNDANCY";
    let (made, _) = s3(&format!("{put}\nx-amz-content-sha256:{hash}\nx-amz-date:20130524T000000Z"), &hash);
    assert_eq!(made, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

#[test]
fn the_example_of_the_s3_documentation_signed_by_query() {
    let headers = HeaderMap::new();
    let unsigned = Unsigned {
        method: "GET",
        path: "/test.txt",
        query: "",
        host: "examplebucket.s3.amazonaws.com",
        headers: &headers,
        payload: "UNSIGNED-PAYLOAD",
        path_rules: PathRules::S3,
    };
    let presign = Presign { key_id: S3_KEY_ID.as_bytes(), session_token: None, life: 86_400 };
    let query = presigned(&s3_signer(), &stamp(S3_WHEN), &unsigned, &["host"], &presign).unwrap();
    assert_eq!(
        std::str::from_utf8(&query).unwrap(),
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
         &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
         &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    );
}
