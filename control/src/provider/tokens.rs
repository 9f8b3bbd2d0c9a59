//! Auth types that exchange the secret: where they ask for their tokens, and what may not stand beside them.

use super::Injection;
use super::auth::Chosen;
use super::build::Ground;
use super::report::Report;
use super::tree::Node;
use crate::aws::role::Role;
use crate::catalog::{FieldKind, SchemeSpec};
use crate::token_url::TokenUrl;

/// The token endpoints that the injections name, each once.
pub(super) fn token_urls(injections: &[Injection], ground: Ground<'_>) -> Vec<TokenUrl> {
    let mut urls = Vec::new();
    for one in injections {
        let specs = ground.schemes.iter().filter(|spec| spec.name == one.scheme);
        let fields = specs.flat_map(|spec| spec.auth_fields.iter().chain(spec.inject_fields));
        let named = fields.filter(|field| is_token_url(field.kind));
        let role = Role::of(&one.fields).ok().flatten().map(|role| role.sts);
        for url in named.filter_map(|field| TokenUrl::parse(one.fields.text(field.name)?).ok()).chain(role) {
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
    }
    urls
}

/// With `inject` the stored value itself would be put on, and not the token that it is for.
pub(super) fn refuse_exchange(chosen: Chosen<'_>, list: &Node, ground: Ground<'_>, report: &mut Report<'_>) {
    let does = match chosen {
        Chosen::Scheme(_, scheme) => has_token_url(scheme),
        Chosen::Own(own) => own.injections.iter().any(|one| exchanges(one.key, ground)),
    };
    if does {
        report.mistake(
            list.at,
            format!("auth type `{}` exchanges its secret for a token, which `inject` would bypass: it would put on the secret itself", chosen.name()),
        );
    }
}

/// Whether the scheme that this key chooses exchanges its secret.
pub(super) fn exchanges(key: &str, ground: Ground<'_>) -> bool {
    ground.schemes.iter().any(|scheme| scheme.inject_key == Some(key) && has_token_url(scheme))
}

fn has_token_url(scheme: &SchemeSpec) -> bool {
    scheme.auth_fields.iter().chain(scheme.inject_fields).any(|field| is_token_url(field.kind))
}

fn is_token_url(kind: FieldKind) -> bool {
    matches!(kind, FieldKind::TokenUrl | FieldKind::TokenService)
}

/// The keys of a secret that an issuer's answers fill, beside the refresh token.
const ISSUED: [&str; 3] = ["access_token", "expires_at", "account_id"];

/// The next refresh token is kept under `secretKey`: under one of these the next answer would write over it.
pub(super) fn refuse_issued_key(node: &Node, injections: &[Injection], report: &mut Report<'_>) {
    let Some(key) = node.field("secretKey") else { return };
    let renews = injections.iter().any(|one| one.scheme == "oauth2-refresh");
    if renews && key.text().is_some_and(|name| ISSUED.contains(&name)) {
        report.mistake(key.at, "`secretKey` is the key of the refresh token; what stands under this one is written anew with each token");
    }
}
