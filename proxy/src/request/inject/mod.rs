//! Puts the credential on a request, in two steps: all that needs no secret, then the placing.
//!
//! For: the journey's inject stage. [`Injector::clean`] removes what does not go upstream, before policy looks;
//! [`Injector::prepare`] judges what credential the agent sent itself (DW1008), refuses dummies where they do not belong
//! (DW1007) and says whether a credential goes on; only then is the secret opened, armed once for each version, and [`Injector::place`] puts it on through the schemes' one door.
//! Invariant: the credential goes to the hosts of an injection and to no other; a host that none covers gets nothing.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use control::policy::Permit;
use control::provider::{Injection, OnAgentCredential, Provider};
use control::refusal::{Code, Refusal};
use control::rule::HostPattern;
use control::secret::SecretRef;
use control::target::Target;
use control::types::UNKNOWN;
use control::vault::{Opened, Version};
use http::{HeaderMap, HeaderName};

use crate::limits::held::Holding;
use crate::schemes::{
    self, ArmFault, Armed, BodyNeed, Bounds, BuildError, Echo, Errand, Exchange, Head, Judged, Outgoing,
    Placed, Rendered, Scheme, StandIn, Surface, Values,
};

pub mod clean;
pub mod dummies;
pub(crate) mod credential;
mod agent;
mod echoes;
mod held;
mod renew;
mod shown;
pub(crate) mod subject;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod files;

pub use agent::{Sent, agent_credential};
pub(crate) use credential::{Ready, hold, open, place, prepare};
pub use dummies::Dummies;
pub(crate) use held::{is_json, sole_type};
pub(crate) use renew::Token;

/// What one provider puts on requests; compiled once for each plan.
#[derive(Debug)]
pub struct Injector {
    provider: Arc<str>,
    keep_headers: Vec<HeaderName>,
    dummies: Arc<Dummies>,
    bounds: Bounds,
    /// The upstream is shown a client certificate: a credential on every host.
    certified: bool,
    auth: Option<Auth>,
}

struct Auth {
    secret: SecretRef,
    keys: Vec<String>,
    on_agent_credential: OnAgentCredential,
    remove_headers: Vec<HeaderName>,
    remove_params: &'static [&'static str],
    public_prefixes: &'static [&'static str],
    own_dummies: Vec<String>,
    entries: Vec<Entry>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("secret", &self.secret)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Entry {
    name: &'static str,
    hosts: Vec<HostPattern>,
    scheme: Box<dyn Scheme>,
}

impl Entry {
    fn new(injection: &Injection) -> Result<Self, BuildError> {
        Ok(Self {
            name: injection.scheme,
            hosts: injection.hosts.clone(),
            scheme: schemes::build(injection.scheme, &injection.fields)?,
        })
    }

    fn covers(&self, target: &Target) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.covers(target))
    }
}

/// A request that was judged, before the secret is opened.
#[derive(Debug)]
#[must_use = "a prepared request still lacks its credential"]
pub struct Prepared {
    entry: usize,
    sent: Sent,
    step: Step,
    body: Option<Bytes>,
    /// Where its body has its room, if it is held.
    holding: Option<Holding>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// No credential goes on.
    Forward,
    /// The body has to be read first; at most so many bytes.
    ReadBody(usize),
    /// A credential goes on.
    Place,
}

impl Prepared {
    /// Whether a credential goes on, so that the secret has to be opened. Where the body is needed, ask after
    /// [`Injector::read_body`].
    pub fn injects(&self) -> bool {
        self.step != Step::Forward
    }

    /// The body has to be held in memory and given to [`Injector::read_body`]: at most so many bytes, above it DW2012.
    pub fn needs_body(&self) -> Option<usize> {
        match self.step {
            Step::ReadBody(limit) => Some(limit),
            Step::Forward | Step::Place => None,
        }
    }

    /// The injection that covers the request's host.
    pub(crate) fn entry(&self) -> usize {
        self.entry
    }

    /// Takes a body that was read for another reason and goes on as it is.
    pub(crate) fn keep(&mut self, body: Bytes) {
        self.body = Some(body);
    }

    /// The body, if it is held.
    pub(crate) fn held(&self) -> Option<&Bytes> {
        self.body.as_ref()
    }

    /// Whether a body is held, or will be.
    pub(crate) fn holds_body(&self) -> bool {
        self.body.is_some() || self.needs_body().is_some()
    }

    /// Says where the body has its room, and what is made of it.
    pub(crate) fn hold_within(&mut self, holding: Holding) {
        self.holding = Some(holding);
    }

    /// The body that was read, unchanged, where no credential goes on.
    pub fn into_body(self) -> Option<Bytes> {
        self.body
    }
}

/// The credential of one version of a secret, ready for every injection of its provider.
pub struct ArmedCredential {
    /// The secret's version.
    pub version: Version,
    /// `None`: that entry exchanges the secret for a token, which is armed by itself.
    entries: Vec<Option<Box<dyn Armed>>>,
}

impl fmt::Debug for ArmedCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArmedCredential").field("version", &self.version).finish_non_exhaustive()
    }
}

/// A secret that opened but cannot be used by its provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("secret `{secret}` cannot be used: {fault}")]
pub struct ArmError {
    /// The secret.
    pub secret: SecretRef,
    /// What is wrong with it.
    pub fault: ArmFault,
}

impl ArmError {
    /// What the agent is told: DW1004 with the names, which are no secret.
    pub fn refusal(&self) -> Refusal {
        Refusal::new(Code::Dw1004, self.to_string())
    }
}

impl Injector {
    /// Compiles a provider. `dummies` are those of all providers of the plan.
    pub fn compile(provider: &Provider, dummies: &Arc<Dummies>, bounds: Bounds) -> Result<Self, BuildError> {
        Ok(Self {
            provider: Arc::clone(&provider.name),
            keep_headers: provider.keep_headers.clone(),
            dummies: Arc::clone(dummies),
            bounds,
            certified: provider.upstream.client_cert.is_some(),
            auth: provider.auth.as_ref().map(Auth::new).transpose()?,
        })
    }

    /// The name of the scheme that would put the credential on.
    pub fn scheme(&self, prepared: &Prepared) -> Option<&'static str> {
        self.auth.as_ref()?.entries.get(prepared.entry).map(|entry| entry.name)
    }

    /// Removes what does not go upstream, before anything reads the headers: a rule must not be decided by a header that
    /// the upstream never sees.
    pub fn clean(&self, target: &Target, headers: &mut HeaderMap) {
        let covered = self.auth.as_ref().is_some_and(|auth| auth.entry_for(target).is_some());
        let injects = self.certified || covered;
        let overrides = if injects {
            clean::Overrides::Remove { except: &self.keep_headers }
        } else {
            clean::Overrides::Keep
        };
        clean::clean(headers, overrides);
    }

    /// Everything else that is done before the secret is opened; the headers are clean.
    pub fn prepare(&self, target: &Target, head: &mut Head) -> Result<Prepared, Refusal> {
        self.judge(target, head).map_err(|refusal| refusal.of_provider(&self.provider))
    }

    fn judge(&self, target: &Target, head: &mut Head) -> Result<Prepared, Refusal> {
        let found = self
            .auth
            .as_ref()
            .and_then(|auth| auth.entry_for(target).map(|(index, entry)| (auth, index, entry)));
        let Some((auth, index, entry)) = found else {
            self.dummies.check(head, &dummies::Exempt::default())?;
            let (sent, step) = (Sent::default(), Step::Forward);
            return Ok(Prepared { entry: 0, sent, step, body: None, holding: None });
        };
        let surface = entry.scheme.surface();
        let sent = auth.sent(head, surface);
        let step = match held::wanted(head, surface, auth.on_agent_credential)? {
            held::Wanted::Held => Step::ReadBody(self.bounds.body_bytes),
            held::Wanted::Streamed => auth.decide(surface, sent)?,
        };
        let step = match step {
            Step::Place if entry.scheme.judge(target, head)? == BodyNeed::Whole => {
                Step::ReadBody(self.bounds.body_bytes)
            }
            step @ (Step::Place | Step::ReadBody(_) | Step::Forward) => step,
        };
        let exempt = match step {
            Step::Forward => dummies::Exempt { own: &auth.own_dummies, ..dummies::Exempt::default() },
            Step::Place | Step::ReadBody(_) => dummies::Exempt {
                own: &auth.own_dummies,
                surface: Some(surface),
                removed: &auth.remove_headers,
                removed_params: auth.remove_params,
            },
        };
        self.dummies.check(head, &exempt)?;
        Ok(Prepared { entry: index, sent, step, body: None, holding: None })
    }

    /// Takes the whole body where [`Prepared::needs_body`] asked for it, and decides with it.
    pub fn read_body(&self, prepared: &mut Prepared, body: Bytes) -> Result<(), Refusal> {
        let Some(auth) = &self.auth else { return Ok(()) };
        let Some(entry) = auth.entries.get(prepared.entry) else { return Ok(()) };
        let surface = entry.scheme.surface();
        let judged = held::judge(&body, surface, &auth.own_dummies, &self.bounds).and_then(|sent| {
            prepared.sent = prepared.sent.with(sent);
            auth.decide(surface, prepared.sent)
        });
        prepared.step = judged.map_err(|refusal| refusal.of_provider(&self.provider))?;
        prepared.body = Some(body);
        Ok(())
    }

    /// Renders every injection of the provider with one version of its secret, once; those that exchange it are left out.
    /// The echoes are each injection's own: an answer is never searched for what its request did not carry, which would
    /// tell the agent what it guessed of another host's credential.
    pub fn arm(&self, opened: &Opened) -> Result<(ArmedCredential, Vec<Vec<Echo>>), ArmError> {
        let keys = self.auth.as_ref().map_or(&[][..], |auth| &auth.keys);
        self.arm_those(opened, keys, |_, entry| entry.scheme.exchange().is_none())
    }

    /// Renders one injection with the token that its secret was exchanged for: the one value that there is.
    pub fn arm_token(&self, at: usize, token: &Opened) -> Result<(ArmedCredential, Vec<Echo>), ArmError> {
        let chosen = |index: usize, entry: &Entry| index == at && entry.scheme.exchange().is_some();
        let (armed, echoes) = self.arm_those(token, &[], chosen)?;
        Ok((armed, echoes.into_iter().flatten().collect()))
    }

    fn arm_those(
        &self,
        opened: &Opened,
        keys: &[String],
        chosen: impl Fn(usize, &Entry) -> bool,
    ) -> Result<(ArmedCredential, Vec<Vec<Echo>>), ArmError> {
        let mut echoes = Vec::new();
        let mut entries = Vec::new();
        for (auth, (index, entry)) in
            self.auth.iter().flat_map(|auth| auth.entries.iter().enumerate().map(move |entry| (auth, entry)))
        {
            let mut own = Vec::new();
            let armed = if chosen(index, entry) {
                let fault = |fault| ArmError { secret: auth.secret.clone(), fault };
                let Rendered { armed, echoes: found } =
                    entry.scheme.arm(&Values::new(opened, keys)).map_err(fault)?;
                found.into_iter().for_each(|echo| echoes::merge(&mut own, echo, auth.public_prefixes));
                Some(armed)
            } else {
                None
            };
            entries.push(armed);
            echoes.push(own);
        }
        Ok((ArmedCredential { version: opened.version, entries }, echoes))
    }

    /// How many injections there are.
    pub(crate) fn entries(&self) -> usize {
        self.auth.as_ref().map_or(0, |auth| auth.entries.len())
    }

    /// The injection whose secret is exchanged for what goes onto this request.
    pub(crate) fn exchanging(&self, prepared: &Prepared) -> Option<usize> {
        self.exchange(prepared.entry).map(|_| prepared.entry)
    }

    /// The exchange of an injection.
    pub(crate) fn exchange(&self, at: usize) -> Option<&dyn Exchange> {
        self.auth.as_ref()?.entries.get(at)?.scheme.exchange()
    }

    /// The part of what the secret opens that a request needs a token for.
    pub(crate) fn part(&self, at: usize, permit: &Permit, head: &Head) -> Result<String, Refusal> {
        let action = permit.trace().action.as_deref();
        let by_action = action.is_some_and(|action| action != UNKNOWN);
        let judged = Judged { agent: permit.agent(), head, by_action };
        let part = self.exchange(at).map(|one| one.part(&judged)).transpose();
        part.map(Option::unwrap_or_default).map_err(|refusal| refusal.of_provider(&self.provider))
    }

    /// What is answered in the place of its issuers.
    pub(crate) fn stand_ins(&self) -> impl Iterator<Item = &dyn StandIn> {
        self.auth.iter().flat_map(|auth| &auth.entries).filter_map(|entry| entry.scheme.stand_in())
    }

    /// The keys in which the provider's own value is looked for.
    pub(crate) fn keys(&self) -> &[String] {
        self.auth.as_ref().map_or(&[], |auth| &auth.keys)
    }

    /// Whether the credential of a request cannot be used by who rebuilds it from slices of answers: it signs, and what
    /// it puts on opens nothing else.
    pub fn signs(&self, prepared: &Prepared) -> bool {
        let entry = self.auth.as_ref().and_then(|auth| auth.entries.get(prepared.entry));
        entry.is_some_and(|entry| matches!(entry.scheme.surface(), Surface::Signature))
    }

    /// Whether what it puts on holds for a time only, so that the upstream compares clocks.
    pub(crate) fn is_timed(&self) -> bool {
        let entries = self.auth.iter().flat_map(|auth| &auth.entries);
        entries
            .into_iter()
            .any(|entry| matches!(entry.scheme.surface(), Surface::Signature | Surface::Signed { .. }))
    }

    /// Puts the credential on. Gives the body back where it was read, changed where the credential lies in it. Schemes that
    /// sign need [`Self::place_towards`].
    pub fn place(
        &self,
        armed: &ArmedCredential,
        prepared: Prepared,
        head: &mut Head,
    ) -> Result<Option<Bytes>, Refusal> {
        self.place_towards(armed, prepared, head, None).map(|placed| placed.body)
    }

    /// As [`Self::place`], where it is known where and when the request goes.
    pub fn place_towards(
        &self,
        armed: &ArmedCredential,
        prepared: Prepared,
        head: &mut Head,
        errand: Option<Errand<'_>>,
    ) -> Result<Placed, Refusal> {
        let Prepared { entry, step, body, holding, sent: _ } = prepared;
        let (Step::Place, Some(auth)) = (step, &self.auth) else { return Ok(Placed::unchanged(body)) };
        let own = armed.entries.get(entry).and_then(Option::as_ref).ok_or_else(|| {
            Refusal::new(Code::Dw1004, "the credential was made for another provider")
                .of_provider(&self.provider)
        })?;
        let placed = clean::remove_beside(head, &auth.remove_headers, auth.remove_params).and_then(|()| {
            let out = Outgoing::new(head, &auth.own_dummies, &self.bounds, body);
            let mut out = out.towards(errand).within(holding);
            own.place(&mut out).and_then(|()| out.placed())
        });
        placed.map_err(|refusal| refusal.of_provider(&self.provider))
    }
}

impl Auth {
    fn new(auth: &control::provider::Auth) -> Result<Self, BuildError> {
        Ok(Self {
            secret: auth.secret.clone(),
            keys: auth.keys.clone(),
            on_agent_credential: auth.on_agent_credential,
            remove_headers: auth.remove_headers.clone(),
            remove_params: auth.remove_params,
            public_prefixes: auth.public_prefixes,
            own_dummies: dummies::own(auth),
            entries: auth.injections.iter().map(Entry::new).collect::<Result<_, _>>()?,
        })
    }

    fn entry_for(&self, target: &Target) -> Option<(usize, &Entry)> {
        self.entries.iter().enumerate().find(|(_, entry)| entry.covers(target))
    }

    /// What the agent sent on the surface; our dummy in what is removed counts too (SDKs that send it elsewhere).
    fn sent(&self, head: &Head, surface: &Surface) -> Sent {
        let mut sent = agent_credential(head, surface, &self.own_dummies);
        let own = &self.own_dummies;
        sent.dummy |= self.remove_headers.iter().any(|name| agent::in_header(head, name, own).dummy)
            || self.remove_params.iter().any(|name| agent::in_query(head, name, own).dummy);
        sent
    }

    /// `onAgentCredential`.
    fn decide(&self, surface: &Surface, sent: Sent) -> Result<Step, Refusal> {
        if sent.own && self.on_agent_credential == OnAgentCredential::Reject {
            return Err(Refusal::new(
                Code::Dw1008,
                "the agent sent a credential of its own and this provider rejects that",
            ));
        }
        let replaces = self.on_agent_credential == OnAgentCredential::Replace;
        let places = match surface {
            // Without the dummy there is nothing to replace.
            Surface::Placeholder(_) => sent.dummy,
            // Without a text in its place there is no telling where the credential belongs.
            Surface::Path(_) => sent.dummy || (sent.own && replaces),
            Surface::Header(_)
            | Surface::Query(_)
            | Surface::Cookie(_)
            | Surface::Body(_)
            | Surface::Signature
            | Surface::Signed { .. }
            | Surface::Connection => {
                sent.dummy || self.on_agent_credential != OnAgentCredential::PlaceholderOnly
            }
        };
        Ok(if places { Step::Place } else { Step::Forward })
    }
}
