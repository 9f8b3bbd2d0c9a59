//! What several schemes share: surfaces, templates, encodings and edits of a query, a path, cookies and JSON.

pub mod surface;
pub mod template;
pub mod encode;
pub mod substitute;
pub mod basic_auth;
pub mod parameters;
pub mod cookies;
pub mod pathshape;
pub mod pointer;
pub mod names;
pub mod strict;
pub mod token;
pub mod cells;
pub mod issuer;
pub mod json_body;
pub mod stand_in;
pub(crate) mod bearer;
pub mod jwt;
