//! What is allowed and what is known: rules, policy, vault, audit, files, and the commands that need no data plane.
//!
//! Imports nothing of ours; `proxy` and the tests build on it.

pub mod target;
mod private;
pub mod config;
pub mod project;
pub mod agent;
pub mod rule;
pub mod token_url;
pub mod provider;
pub mod types;
pub mod aws;
pub mod mcp;
pub mod catalog;
pub mod policy;
pub mod approval;
pub mod model;
pub mod refusal;
pub mod secret;
pub mod pem;
pub mod keyfile;
pub mod leak;
pub mod vault;
pub mod registry;
pub mod database;
pub mod audit;
pub mod outgoing;
pub mod oidc;
pub mod api;
pub mod sync;
pub mod cli;
