//! `/model/NAME/…` (or `/model/PROJECT:NAME/…`): requests of clients whose base URL is the proxy itself, as if it were the vendor.
//!
//! The client says who it is as to the proxy, or, since such clients know only the vendor's way, with its own token in the
//! place of the API key. The name leads to a model provider of the agent's; what follows it is joined to that provider's
//! endpoint by a strict grammar, and the request then makes the same journey as one to the vendor's own host.
//! Refuses what a web page could send (a page can reach loopback): an `Origin`, a `Sec-Fetch-Site`, and without a token a `Host` that is not
//! loopback.

use std::sync::Arc;
use std::time::SystemTime;

use control::agent::{AgentName, Credentials, bare_token, credentials};
use control::model::{Endpoint, ModelRules, Vendor};
use control::provider::Provider;
use control::refusal::{Code, Refusal};
use control::rule::Path;
use control::target::Target;
use http::header::{
    AUTHORIZATION, CONTENT_SECURITY_POLICY, HOST, HeaderName, HeaderValue, ORIGIN, PROXY_AUTHORIZATION,
    X_CONTENT_TYPE_OPTIONS,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Uri};

use super::lead::Lead;
use super::plain::Named;
use super::{Conn, Door};
use crate::plan::{Plan, Served};

const PREFIX: &str = "/model/";

/// Where the clients of the vendors put the key.
static KEYS: [HeaderName; 3] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whatever a browser shows of an answer: it runs nothing, has no origin, and is what it says that it is.
pub(crate) fn seal(headers: &mut HeaderMap) {
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// Whether a request target, as sent, is one of a base URL.
pub(crate) fn is_one(target: &str) -> bool {
    target.starts_with(PREFIX)
}

/// What a client of a base URL sent in the place of its key, which may be its token.
pub(crate) fn presented(headers: &HeaderMap) -> impl Iterator<Item = Credentials> {
    let bearer = headers.get(AUTHORIZATION).and_then(credentials);
    bearer.into_iter().chain(KEYS.iter().filter_map(|name| headers.get(name)).filter_map(bare_token))
}

/// Where a request of a base URL goes, and what else may be asked.
#[derive(Debug)]
pub(crate) struct Entered {
    pub(crate) named: Arc<Named>,
    /// The path behind the endpoint's, and the query: what a fallback gets behind its own. `None`: there is none to ask.
    pub(crate) tail: Option<String>,
    /// The model provider whose base URL it is.
    pub(crate) model: Option<Arc<Served>>,
}

impl Entered {
    /// Whether another model provider may be asked in place of the first one.
    pub(crate) fn has_fallbacks(&self) -> bool {
        self.tail.is_some()
    }

    /// Where it leads, if the plan serves that.
    pub(crate) fn leads(&self, plan: &Plan, agent: &AgentName) -> Vec<Lead> {
        match &self.model {
            Some(served) => Lead::to_model(served).into_iter().collect(),
            None => plan
                .route(&self.named.target, agent)
                .map(|_| Lead::to(&self.named.target))
                .into_iter()
                .collect(),
        }
    }
}

impl Conn {
    /// Whether the request is one by a base URL.
    pub(crate) fn is_by_base_url<B>(&self, request: &Request<B>) -> bool {
        matches!(self.door, Door::Plain(_))
            && request.uri().authority().is_none()
            && is_one(request.uri().path())
    }

    /// The target of a request: the tunnel's, the one that an absolute-form request names, or the endpoint of the model
    /// provider that its path names; the request is then written anew for it.
    pub(crate) fn enter<B>(&self, plan: &Plan, request: &mut Request<B>) -> Result<Entered, Refusal> {
        if !self.is_by_base_url(request) {
            return Ok(Entered { named: self.named(request)?, tail: None, model: None });
        }
        let tokens = tokens(plan, request.headers());
        refuse_pages(!tokens.is_empty(), request.headers())?;
        let sent = request.uri().clone();
        let (name, rest) = split(&sent)?;
        let mut own = plan.models(name, &self.caller.name);
        let served = own.next().ok_or_else(unknown)?;
        if own.next().is_some() {
            return Err(several());
        }
        let rules = served.provider.model.as_ref().ok_or_else(unknown)?;
        let (named, target) = join(&rules.endpoint, rest)?;
        *request.uri_mut() = target.into();
        request.headers_mut().insert(HOST, named.host.clone());
        // The agent's own token is for us and goes no further.
        tokens.iter().for_each(|name| drop(request.headers_mut().remove(name)));
        let tail = if rules.fallbacks.is_empty() { None } else { tail(rules, rest) };
        Ok(Entered { named: Arc::new(named), tail, model: Some(Arc::clone(served)) })
    }
}

/// The fields that hold an agent's token.
fn tokens(plan: &Plan, headers: &HeaderMap) -> Vec<HeaderName> {
    let Some(agents) = &plan.agents else { return Vec::new() };
    // One that has expired is a token all the same.
    let ever = SystemTime::UNIX_EPOCH;
    let holds = |name: &&HeaderName| {
        headers.get_all(*name).iter().any(|value| {
            let read = if KEYS.contains(name) { bare_token(value) } else { credentials(value) };
            agents.identify(read.as_ref(), ever).is_ok()
        })
    };
    KEYS.iter().chain([&AUTHORIZATION, &PROXY_AUTHORIZATION]).filter(holds).cloned().collect()
}

/// A page in a browser on the same host can send requests here; no client of a model does it with an `Origin`, or says from
/// which site it comes, as browsers do of every request, a link that is followed included.
fn refuse_pages(has_token: bool, headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(ORIGIN) || headers.contains_key(&SEC_FETCH_SITE) {
        return Err(Refusal::new(
            Code::Dw1002,
            "the request comes from a web page, and this base URL is for programs",
        ));
    }
    let mut hosts = headers.get_all(HOST).iter();
    let (host, None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) else {
        return Err(Refusal::new(Code::Dw2008, "there are several Host fields"));
    };
    let is_loopback = host.and_then(|host| Target::parse_host(host, 80).ok()).is_some_and(|target| {
        match target.host.ip() {
            Some(ip) => ip.is_loopback(),
            None => target.host.name() == Some("localhost"),
        }
    });
    if !has_token && !is_loopback {
        return Err(Refusal::new(Code::Dw2007, "the Host field does not name this proxy's own address"));
    }
    Ok(())
}

/// The model provider's name, and path with query behind it.
fn split(uri: &Uri) -> Result<(&str, &str), Refusal> {
    let behind = uri.path_and_query().and_then(|sent| sent.as_str().strip_prefix(PREFIX)).unwrap_or_default();
    let cut = behind.find(['/', '?']).filter(|at| behind.as_bytes().get(*at) == Some(&b'/'));
    let cut = cut.ok_or_else(|| {
        Refusal::new(
            Code::Dw2008,
            "a base URL is `/model/NAME/` and what the vendor's API has behind its host",
        )
    })?;
    Ok(behind.split_at(cut))
}

/// Not found, and not shown: what is not the agent's looks as if it did not exist.
fn unknown() -> Refusal {
    Refusal::new(Code::Dw1001, "this agent has no model provider of that name")
}

fn several() -> Refusal {
    Refusal::new(
        Code::Dw2008,
        "this agent has model providers of that name in several projects: the base URL is `/model/PROJECT:NAME/` then",
    )
}

/// The endpoint's target, and its path with what follows; nothing may lead out of it.
fn join(endpoint: &Endpoint, rest: &str) -> Result<(Named, PathAndQuery), Refusal> {
    let malformed = || Refusal::new(Code::Dw2008, "the path behind the model provider's name is malformed");
    let (raw, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let path = Path::parse(raw).map_err(|error| Refusal::new(Code::Dw2008, error.to_string()))?;
    if path.lost_dots() || path.as_str().starts_with("//") {
        return Err(malformed());
    }
    let mut text = format!("{}{}", endpoint.base, path.as_str());
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    let port = if endpoint.plain { 80 } else { 443 };
    let named = Named::new(endpoint.target.clone(), port).ok_or_else(malformed)?;
    Ok((named, PathAndQuery::try_from(text).map_err(|_| malformed())?))
}

/// What stands in front of the API's own paths where the endpoint has none of its own.
fn api_base<'a>(vendor: &'a Vendor, endpoint: &Endpoint) -> &'a str {
    if endpoint.base.is_empty() { vendor.suffix } else { "" }
}

/// The API's own path, which fallbacks of the same API have too.
fn tail(rules: &ModelRules, rest: &str) -> Option<String> {
    let own = rest.strip_prefix(api_base(rules.vendor, &rules.endpoint))?;
    own.starts_with('/').then(|| own.to_owned())
}

/// The same request for a fallback: where it goes, and its path there.
pub(crate) fn for_fallback(rules: &ModelRules, tail: &str) -> Result<(Named, PathAndQuery), Refusal> {
    join(&rules.endpoint, &format!("{}{tail}", api_base(rules.vendor, &rules.endpoint)))
}

/// Removes what a client sends as its key: a dummy of one model provider is not another one's.
pub(crate) fn remove_keys(headers: &mut HeaderMap) {
    for name in KEYS.iter().chain([&AUTHORIZATION]) {
        headers.remove(name);
    }
}

/// The variables that lead clients here: of each model provider its base URL, beside the key of the same one. Where
/// another one's dummy is the key of these clients, that other one's way is theirs.
pub(crate) fn variables<'a>(
    providers: impl Iterator<Item = &'a Arc<Provider>>,
    dummies: &[(String, String)],
    listener: &str,
) -> Vec<(String, String)> {
    let held =
        |name: &str| dummies.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    let mut variables = Vec::new();
    let own: Vec<_> = providers.filter(|provider| provider.model.is_some()).collect();
    for provider in &own {
        let Some(rules) = &provider.model else { continue };
        let is_one = own.iter().filter(|other| other.name == provider.name).count() == 1;
        let project = if is_one { String::new() } else { format!("{}:", provider.project) };
        if !provider.agent_env.iter().all(|(name, dummy)| held(name) == Some(dummy)) {
            continue;
        }
        let base = api_base(rules.vendor, &rules.endpoint);
        let url = format!("http://{listener}{PREFIX}{project}{}{base}", provider.name);
        variables.extend(rules.vendor.env.iter().map(|name| ((*name).to_owned(), url.clone())));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(base: &str) -> Endpoint {
        Endpoint {
            target: Target::parse_authority("a.example:443").unwrap(),
            plain: false,
            base: base.into(),
        }
    }

    #[test]
    fn nothing_leads_out_of_the_endpoint() {
        for rest in [
            "/../admin",
            "/a/../../admin",
            "/%2e%2e/admin",
            "/.%2e/x",
            "/..%2fadmin",
            "/a/..%5cadmin",
            "//evil.example/x",
            "/%00",
            "/a\\..\\b",
            "/%zz",
        ] {
            assert!(join(&endpoint("/tenant/v1"), rest).is_err(), "{rest}");
        }
        for (base, rest, wanted) in [
            ("", "/v1/models", "/v1/models"),
            ("/tenant/v1", "/models?x=/../y", "/tenant/v1/models?x=/../y"),
            ("/tenant/v1", "/", "/tenant/v1/"),
        ] {
            assert_eq!(join(&endpoint(base), rest).unwrap().1.as_str(), wanted);
        }
    }

    #[test]
    fn a_name_is_followed_by_a_slash() {
        for uri in ["/model/a", "/model/a?x/", "/model/a?x=/b"] {
            assert!(split(&uri.parse().unwrap()).is_err(), "{uri}");
        }
        let uri: Uri = "/model/a/b?c=/".parse().unwrap();
        assert_eq!(split(&uri).unwrap(), ("a", "/b?c=/"));
    }
}
