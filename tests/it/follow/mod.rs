//! A sidecar follows a real server: the real binary on both sides, real TLS origins, a real database.

mod team;
mod journeys;
mod verbs;
mod away;
mod ends;
mod drill;
mod shipping;
mod rotated;
mod rest;
mod load;
mod replicas;
mod identity;
mod injected;
