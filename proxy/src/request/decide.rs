//! Stage 7: policy's permit, by a request that is cleaned of all that does not go upstream; then the provider's rate.

use control::agent::AgentName;
use control::policy::{self, Facts, Permit};
use control::refusal::{Code, Refusal};
use control::rule::Path;
use control::target::Target;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue};

use super::inject;
use super::parse::Parsed;
use super::record::Record;
use crate::conn::identify::Caller;
use crate::limits::rate::Rates;
use crate::limits::{self, Limits};
use crate::plan::Served;
use crate::schemes::Head;

/// Asks policy.
pub(crate) fn permit(
    served: &Served,
    caller: &Caller,
    target: &Target,
    parsed: &mut Parsed,
) -> Result<Permit, Refusal> {
    let form = parsed.form.as_deref().map(text).transpose()?;
    judged(served, &caller.name, target, &mut parsed.head, &parsed.path, form)
}

/// Reads the form in which a type says what its requests do (AWS' query protocol). Bodies of other requests pass unread, and
/// so do those that a rule refuses anyway.
///
/// # Errors
/// DW2008 for a form that is coded or no text, DW2012 for one that is too long.
pub(crate) async fn form(
    served: &Served,
    caller: &Caller,
    target: &Target,
    parsed: &mut Parsed,
    limits: &Limits,
    record: &mut Record,
) -> Result<(), Refusal> {
    if !is_form(&parsed.head.headers) || !wants_form(served, &caller.name, target, parsed) {
        return Ok(());
    }
    if is_coded(&parsed.head.headers) {
        return Err(malformed("the form that says what the request does has a content coding"));
    }
    let Some(body) = parsed.body.take() else { return Ok(()) };
    let most = limits::count(limits.form_body);
    let reading = inject::hold(body, most, limits::time(limits.stream_idle));
    let form = Box::pin(record.while_lasting(reading)).await?;
    text(&form)?;
    parsed.form = Some(form);
    parsed.head.headers.remove(EXPECT);
    Ok(())
}

fn wants_form(served: &Served, agent: &AgentName, target: &Target, parsed: &mut Parsed) -> bool {
    if served.provider.auth.is_none() {
        return false;
    }
    // As policy will see them.
    served.injector.clean(target, &mut parsed.head.headers);
    let facts = facts(served, agent, target, &parsed.head, &parsed.path, None);
    served.provider.kind.reads_form(&policy::ask(&facts)) && !policy::rules_refuse(&facts)
}

fn is_form(headers: &HeaderMap) -> bool {
    let is_form = |value: &HeaderValue| {
        let essence = value.as_bytes().split(|&b| b == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    };
    headers.get_all(CONTENT_TYPE).iter().any(is_form)
}

pub(super) fn is_coded(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(CONTENT_ENCODING);
    codings.iter().any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

fn text(form: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(form).map_err(|_| malformed("the form that says what the request does is not UTF-8"))
}

fn malformed(detail: &'static str) -> Refusal {
    Refusal::new(Code::Dw2008, detail)
}

fn judged(
    served: &Served,
    agent: &AgentName,
    target: &Target,
    head: &mut Head,
    path: &Path,
    form: Option<&str>,
) -> Result<Permit, Refusal> {
    // First, or a header that the upstream never sees could decide what the request is taken for.
    served.injector.clean(target, &mut head.headers);
    policy::decide(&facts(served, agent, target, head, path, form))
}

pub(super) fn facts<'a>(
    served: &'a Served,
    agent: &'a AgentName,
    target: &'a Target,
    head: &'a Head,
    path: &'a Path,
    form: Option<&'a str>,
) -> Facts<'a> {
    Facts {
        agent,
        target,
        provider: &served.provider,
        method: &head.method,
        path,
        query: head.target.query(),
        form,
        headers: &head.headers,
    }
}

/// Takes the request's place in the provider's rate; last of all, so that no request is counted that something else
/// refuses.
pub(crate) fn rate(served: &Served, caller: &Caller, rates: &Rates) -> Result<(), Refusal> {
    match served.provider.limits.requests_per_minute {
        Some(per_minute) => rates.take(&served.provider, &caller.name, per_minute),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use control::types::{Actions, Ask, Clarity, Resolved, Resource, TypeSpec};

    use super::*;
    use crate::plan::MadeFrom;
    use crate::request::inject::{Dummies, Injector};
    use crate::schemes::conformance::request;
    use crate::schemes::{Bounds, specs};
    use crate::upstream::tls::UpstreamTls;

    /// A type that takes a request for what its headers say.
    static READS_HEADERS: TypeSpec = TypeSpec {
        name: "reads-headers",
        summary: "",
        hosts: &[],
        auth: &[],
        actions: Actions::None,
        scope: None,
        verify: None,
        resolve: by_header,
    };

    fn by_header<'a>(ask: &Ask<'a>) -> Resolved<'a> {
        let seen: Vec<_> = ask.headers.keys().map(http::HeaderName::as_str).collect();
        let action = seen.join(" ").into();
        Resolved { action, also: Vec::new(), resource: Resource::None, clarity: Clarity::Clear }
    }

    fn served() -> Served {
        let text = "apiVersion: doorward.dev/v1alpha1\nkind: Provider\nmetadata: {name: p}\n\
                    spec: {type: http-token, host: a.example, auth: {type: bearer, secretRef: s}}\n";
        let mut provider = {
            let loaded = control::provider::parse_text("p.yaml", text, specs()).unwrap();
            Arc::clone(&loaded.providers[0])
        };
        Arc::get_mut(&mut provider).unwrap().kind = &READS_HEADERS;
        let injector = Injector::compile(&provider, &Arc::new(Dummies::of([])), Bounds::default()).unwrap();
        let tls = UpstreamTls::new(Arc::new(rustls::RootCertStore::empty())).unwrap();
        Served::new(1, MadeFrom { definition: [0; 32], version: None }, provider, injector, tls)
    }

    #[test]
    fn rules_see_no_header_that_does_not_go_upstream() {
        let mut head = request(
            "GET /\nconnection: x-action, close\nx-action: read\nproxy-action: read\nkeep-alive: 1\n\
             x-http-method-override: GET\nte: gzip\nx-kept: 1",
        );
        let target = Target::parse_authority("a.example:443").unwrap();
        let path = Path::of_uri(&"/".parse().unwrap()).unwrap();
        let permit = judged(&served(), &AgentName::local(), &target, &mut head, &path, None).unwrap();
        assert_eq!(permit.trace().action.as_deref(), Some("x-kept"));
    }
}
