//! Journeys and refusals: real sockets, real TLS, the real binary.
//!
//! `refusals` come first; most of their bytes are written by hand. Each test's name is the sentence that it proves.

mod approvals;
mod codes_named;
mod connect;
mod deploy;
mod demo;
mod doctor;
mod exposed;
mod follow;
mod generated;
mod harness_itself;
mod home;
mod issuer;
mod leak;
mod login;
mod readme;
mod run;
mod server;
mod verbs;
mod world;

mod clients;

mod refusals {
    mod addresses;
    mod base_url;
    mod codes;
    mod disk;
    mod framing;
    mod framing_body;
    mod framing_h2;
    mod grants;
    mod headers;
    mod identity;
    mod in_use;
    mod methods;
    pub(crate) mod model;
    mod paths;
    mod placeholders;
    mod rules;
    mod startup;
    mod target;
    mod target_h2;
    pub(crate) mod told;
    mod upstream;
    mod vault;
}

mod journeys {
    mod admin;
    mod audit;
    mod audit_durability;
    mod audit_long;
    mod base_url;
    mod base_url_live;
    mod bodies;
    mod connections;
    mod credentials;
    mod inject;
    mod inject_catalogue;
    mod inject_pairs;
    mod inject_types;
    mod aws;
    mod aws_role;
    mod cloud_federated;
    mod registry;
    mod cloud;
    mod mtls;
    mod github_server;
    mod hmac;
    mod digest;
    mod limits;
    mod mcp;
    mod model;
    mod listeners;
    mod live;
    mod live_beside_mistakes;
    mod protocols;
    mod range;
    mod scrub;
    mod scrub_coded;
    mod scrub_partial;
    mod streams;
    mod told;
    mod tokens;
    mod tokens_crowd;
    mod tokens_refresh;
    mod upstream_proxy;
    mod vault;
    mod websocket;
    mod websocket_limits;
}
