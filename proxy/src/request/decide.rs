//! Stage 7: policy's permit, by a request that is cleaned of all that does not go upstream; then the provider's rate.

use control::agent::AgentName;
use control::policy::{self, Facts, Verdict};
use control::refusal::Refusal;
use control::rule::Path;
use control::target::Target;
use control::types::Told;

use super::parse::Parsed;
use super::told::Read;
use crate::conn::identify::Caller;
use crate::limits::rate::Rates;
use crate::plan::Served;
use crate::schemes::Head;

/// Asks policy.
pub(crate) fn verdict(
    served: &Served,
    caller: &Caller,
    target: &Target,
    parsed: &mut Parsed,
) -> Result<Verdict, Refusal> {
    let told = parsed.told.as_ref().map(Read::told).transpose()?.flatten();
    judged(served, &caller.name, target, &mut parsed.head, &parsed.path, told)
}

fn judged(
    served: &Served,
    agent: &AgentName,
    target: &Target,
    head: &mut Head,
    path: &Path,
    body: Option<Told<'_>>,
) -> Result<Verdict, Refusal> {
    // First, or a header that the upstream never sees could decide what the request is taken for.
    served.injector.clean(target, &mut head.headers);
    policy::decide(&facts(served, agent, target, head, path, body))
}

pub(super) fn facts<'a>(
    served: &'a Served,
    agent: &'a AgentName,
    target: &'a Target,
    head: &'a Head,
    path: &'a Path,
    body: Option<Told<'a>>,
) -> Facts<'a> {
    Facts {
        agent,
        target,
        provider: &served.provider,
        method: &head.method,
        path,
        query: head.target.query(),
        body,
        headers: &head.headers,
    }
}

/// Takes the request's place in the provider's rate; last of all, so that no request is counted that something else
/// refuses.
pub(crate) fn rate(served: &Served, caller: &Caller, rates: &Rates, parsed: &Parsed) -> Result<(), Refusal> {
    let Some(per_minute) = served.provider.limits.requests_per_minute else { return Ok(()) };
    // A batch is as many requests as it has messages.
    let count = parsed.told.as_ref().map_or(1, Read::count);
    (0..count).try_for_each(|_| rates.take(&served.provider, &caller.name, per_minute))
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
        Served::new(
            1,
            MadeFrom { own: [0; 32], definition: [0; 32], version: None, client_cert: None },
            provider,
            injector,
            tls,
        )
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
        let permit = permit.permit().unwrap();
        assert_eq!(permit.trace().action.as_deref(), Some("x-kept"));
    }
}
