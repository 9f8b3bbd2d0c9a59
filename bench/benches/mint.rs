//! What does a leaf cost: signed, signed with its TLS configuration, and found in the cache?

use certs::{Authority, Leaves};
use divan::{Bencher, black_box};
use rustls_pki_types::ServerName;
use std::sync::Arc;
use std::time::SystemTime;

/// Small enough that the cold case also pays for pushing older leaves out, as a busy proxy does.
const CAPACITY: usize = 1024;

fn main() {
    divan::main();
}

fn host(number: usize) -> ServerName<'static> {
    ServerName::try_from(format!("h{number}.bench.test")).expect("a host name")
}

fn authority(now: SystemTime) -> Authority {
    Authority::generate(now).expect("a certificate authority")
}

#[divan::bench]
fn sign(bencher: Bencher) {
    let now = SystemTime::now();
    let authority = authority(now);
    let host = host(0);
    bencher.bench_local(|| authority.sign(black_box(&host), now));
}

#[divan::bench]
fn never_seen_host(bencher: Bencher) {
    let now = SystemTime::now();
    let leaves = Leaves::new(Arc::new(authority(now)), CAPACITY).expect("a cache");
    let mut number = 0;
    bencher
        .with_inputs(|| {
            number += 1;
            host(number)
        })
        .bench_local_values(|host| leaves.config_for(&host, now));
}

#[divan::bench]
fn known_host(bencher: Bencher) {
    let now = SystemTime::now();
    let leaves = Leaves::new(Arc::new(authority(now)), CAPACITY).expect("a cache");
    let host = host(0);
    leaves.config_for(&host, now).expect("a leaf");
    bencher.bench_local(|| leaves.config_for(black_box(&host), now));
}
