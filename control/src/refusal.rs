//! Why doorward said no: stable codes, one table from which wire, log, audit, CLI and docs follow.
//!
//! What an agent sees is a [`Refusal`]: code, status, one helpful sentence, whose fault. Hints say what a human can do,
//! never how an agent could widen its own access.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Who can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The agent sent something that it should not have.
    Agent,
    /// A rule, a missing secret, a setting: the operator.
    Operator,
    /// The upstream or the network in between.
    Upstream,
    /// doorward itself.
    Doorward,
}

/// A no, with its reason. Holds nothing taken from a secret, a header value, a query or a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// The HTTP status; the table's default unless the case has several (DW2006: 502 or 504; DW2008: 400 or 431).
    pub status: u16,
    /// One sentence for people: what, of which rule or step.
    pub detail: Cow<'static, str>,
    /// The provider concerned.
    pub provider: Option<Arc<str>>,
    /// The rule concerned, with its place (`github.yaml:12`).
    pub rule: Option<Arc<str>>,
    /// When trying again makes sense.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal with the table's status. Cold, so that the compiler keeps what is done for refused requests apart from
    /// what is done for all.
    #[cold]
    #[inline(never)]
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            status: code.entry().status,
            detail: detail.into(),
            provider: None,
            rule: None,
            retry_after: None,
        }
    }

    /// Another status than the table's.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Names the provider concerned.
    #[must_use]
    pub fn of_provider(mut self, provider: &Arc<str>) -> Self {
        self.provider = Some(Arc::clone(provider));
        self
    }

    /// Names the rule concerned.
    #[must_use]
    pub fn by_rule(mut self, rule: impl Into<Arc<str>>) -> Self {
        self.rule = Some(rule.into());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.detail)
    }
}

impl std::error::Error for Refusal {}

/// One row of the table of codes.
#[derive(Debug)]
pub struct Entry {
    /// The code.
    pub code: Code,
    /// As printed: `DW1001`.
    pub name: &'static str,
    /// A short title, lower case.
    pub title: &'static str,
    /// The default HTTP status; 0 where no answer of ours goes on the wire.
    pub status: u16,
    /// Who can mend it.
    pub blame: Blame,
    /// What it means, for `doorward explain`.
    pub meaning: &'static str,
    /// What a human can do.
    pub hint: &'static str,
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agent => "agent",
            Self::Operator => "operator",
            Self::Upstream => "upstream",
            Self::Doorward => "doorward",
        })
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.entry().name)
    }
}

impl Code {
    /// As printed: `DW1001`.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// Reads `DW1001`, `dw1001` or `1001`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = match text.get(..2) {
            Some(prefix) if prefix.eq_ignore_ascii_case("dw") => text.get(2..)?,
            Some(_) | None => text,
        };
        Self::ALL.into_iter().find(|code| code.name().get(2..) == Some(digits))
    }
}

/// The whole table as a Markdown page (`docs/errors.md`; CI compares it with what is committed).
pub fn markdown() -> String {
    let mut page = String::from(
        "# Error codes\n\nGenerated from `control/src/refusal.rs`. `doorward explain CODE` prints the same text, offline.\n\n\
         | code | title | status | whose |\n|---|---|---|---|\n",
    );
    for entry in Code::ALL.map(Code::entry) {
        let (link, status) = (entry.name.to_ascii_lowercase(), status_text(entry.status));
        page.push_str(&format!(
            "| [{}](#{link}) | {} | {status} | {} |\n",
            entry.name, entry.title, entry.blame
        ));
    }
    for entry in Code::ALL.map(Code::entry) {
        page.push_str(&format!(
            "\n## {}\n\n**{}** (status: {}; to mend: {})\n\n{}\n\nWhat to do: {}\n",
            entry.name,
            entry.title,
            status_text(entry.status),
            entry.blame,
            entry.meaning,
            entry.hint
        ));
    }
    page
}

/// The status as people read it.
pub(crate) fn status_text(status: u16) -> String {
    if status == 0 { "none".to_owned() } else { status.to_string() }
}

/// Makes the enum, `ALL` and `entry` out of one list, so that no code can lack its row.
macro_rules! codes {
    ($($code:ident $name:literal $status:literal $blame:ident $title:literal $meaning:literal $hint:literal)*) => {
        /// A stable code of CLI.md ("Errors on the wire").
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "each code is documented by its row, which `doorward explain` prints")]
        pub enum Code { $($code),* }

        impl Code {
            /// Every code, in order.
            pub const ALL: [Self; [$(Self::$code),*].len()] = [$(Self::$code),*];

            /// The row of the table.
            pub const fn entry(self) -> &'static Entry {
                match self {
                    $(Self::$code => &Entry {
                        code: Self::$code,
                        name: $name,
                        title: $title,
                        status: $status,
                        blame: Blame::$blame,
                        meaning: $meaning,
                        hint: $hint,
                    },)*
                }
            }
        }
    };
}

codes! {
    Dw1001 "DW1001" 403 Operator "host not allowed"
        "No provider that is attached to this agent covers the host and port, so nothing was looked up, dialled or sent. An empty list of providers allows nothing."
        "If the agent is meant to reach this host, the operator adds a provider for it; `doorward check request` shows what would match."
    Dw1002 "DW1002" 403 Operator "denied by a rule"
        "A provider covers the host, but a rule, an action, its scope or its default denies this request. The detail names which one and where it stands."
        "The operator reads the named rule and decides whether this request is meant to pass; `doorward check request METHOD URL` replays the decision."
    Dw1003 "DW1003" 403 Operator "needs approval"
        "A rule (`effect: ask`) lets this request through only after a person has approved exactly it. The detail says whether nobody has decided yet or a person has denied it; `Retry-After` says when it makes sense to send it again."
        "A person who may approve looks at the pending request and decides; the agent cannot approve its own."
    Dw1004 "DW1004" 503 Operator "secret missing"
        "The request is allowed, but the secret or one of its keys is not there, has expired, or is not bound to this host. It was not sent without it."
        "The operator stores the secret that the detail names (`doorward add secret`), or rotates it; the proxy picks it up by itself."
    Dw1005 "DW1005" 503 Operator "token exchange refused"
        "The token endpoint did not issue or refresh the access token that this provider needs: it refused the credential, answered with a redirect, or could not answer. The detail says which; the request was not sent without a token."
        "The operator checks the client, the refresh token and its grant at the vendor, then stores the new values; `doorward doctor` says which provider is degraded."
    Dw1006 "DW1006" 0 Operator "upstream rejects the credential"
        "The upstream answered 401 or 403 to the credential that doorward put on. Its answer is passed through with a `Doorward-Note` header that names the revision; of a signature it says `clock-skew` where the clocks differ (also for a 400). A Digest challenge that the provider does not let us answer is refused with 502."
        "The operator checks at the vendor whether the credential is still valid and has the scopes that it needs, and rotates it with `doorward rotate` if not. With `clock-skew` the clock of the machine that runs the proxy is to be set."
    Dw1007 "DW1007" 403 Agent "dummy out of place"
        "A dummy value was sent to a host or on a surface that it is not bound to, or a placeholder is not known. Nothing was replaced and nothing was sent."
        "Check which program sent it there: it may be a wrong base URL, or an attempt to have a secret delivered elsewhere. The audit record has the request."
    Dw1008 "DW1008" 403 Agent "credential of the agent's own"
        "The agent sent a credential of its own where the provider injects one, and the provider is set to refuse that."
        "Find out where the agent got that value from; agents are meant to hold dummies only. The operator decides what the provider's `onAgentCredential` says."
    Dw1009 "DW1009" 429 Operator "over a limit"
        "A rate limit, a budget or a limit on what one agent may have in flight is used up. `Retry-After` says when it makes sense to try again. A request whose tokens could not be counted is refused with 400."
        "Wait, or change what the detail names; if the load is legitimate, the operator raises the limit that it names."
    Dw1010 "DW1010" 403 Operator "plain http refused"
        "The request came as plain http:// and the provider does not say that this host may be reached so. No credential is ever put on a plain connection by default."
        "Use the https:// address of the service. Where there is none, the operator writes so in the provider for that host."
    Dw2001 "DW2001" 0 Operator "client does not trust our certificate authority"
        "The client ended the TLS handshake with an alert that says that it does not know or does not accept the certificate authority of doorward."
        "Give that client the CA bundle: `doorward env` prints the variables, `doorward doctor` says which one this client reads."
    Dw2002 "DW2002" 0 Operator "client looks pinned"
        "The client rejects the certificate for this host although it accepted ours for others: it probably pins the vendor's certificate."
        "Use a client or a setting of it without pinning, or the operator covers that host with a provider in passthrough mode, which injects nothing."
    Dw2003 "DW2003" 0 Agent "not TLS in the tunnel"
        "What came through the tunnel is neither TLS nor a protocol that doorward can read, so the connection was closed. Unread bytes are never passed on."
        "Check that the program speaks https on that port; other protocols need another way out, which the operator provides."
    Dw2004 "DW2004" 502 Upstream "upstream TLS failed"
        "The TLS handshake with the upstream failed or its certificate does not verify for the host. Nothing was sent."
        "Check the upstream's certificate. If a private authority signs it, the operator adds that root to the provider or by `--upstream-ca`."
    Dw2005 "DW2005" 403 Operator "address refused"
        "The host's name leads to an address that is private, loopback, link-local, reserved or the cloud's metadata service."
        "If the host is internal on purpose, the operator lists its range in the provider. Metadata addresses are refused always."
    Dw2006 "DW2006" 502 Upstream "upstream not reached"
        "The name could not be resolved, the upstream could not be reached, or it did not answer in time. The detail names the step and the milliseconds."
        "Check the upstream's status and the way to it from the machine that runs the proxy (`doorward doctor`)."
    Dw2007 "DW2007" 421 Agent "names disagree"
        "The host of CONNECT, the SNI of the handshake, the Host header or :authority name different hosts. One connection goes to one host; nothing was sent."
        "Usually a client that reuses a connection for another host, or one that sets Host by hand; check the program and its version."
    Dw2008 "DW2008" 400 Agent "malformed or ambiguous request"
        "The request can be read in more than one way, or is over the size that is allowed for its head. It was refused, not repaired, and the connection was closed."
        "Check the program that made the request; the detail says what is wrong with it."
    Dw2009 "DW2009" 502 Upstream "answer could not be cleaned"
        "The answer holds, or may hold, the credential in a form that cannot be masked safely, or echoes of it were seen too often. The rest was held back."
        "Look at what the upstream echoes (the audit has the request); the operator rotates the secret if it was echoed on purpose."
    Dw2010 "DW2010" 502 Upstream "malformed answer"
        "The upstream's answer breaks HTTP (a bad head or framing, too long, a 101 that does not belong to the request), or is an MCP server's that cannot be read for the tools that it shows."
        "Check the upstream with its vendor; trying again may reach a healthy instance."
    Dw2011 "DW2011" 405 Agent "method not allowed"
        "TRACE, TRACK and CONNECT (other than for WebSocket over h2) are never passed on: they echo or tunnel what was injected."
        "Check the program; no API needs these methods."
    Dw2012 "DW2012" 413 Operator "body over the buffered limit"
        "This rule has to read the whole body (a placeholder in it, a payload hash, a message for an MCP server), and the body is over the limit of that mode."
        "Send a smaller body; the operator may raise the buffered limit for large payloads."
    Dw2013 "DW2013" 503 Doorward "no capacity"
        "The proxy has as many connections to this upstream as it may have, or it is draining before it stops. `Retry-After` says when to try again."
        "Wait and try again; if it lasts, the operator raises the upstream's limit or runs more instances."
    Dw3001 "DW3001" 407 Agent "proxy credentials missing"
        "The proxy wants to know which agent calls and got no credentials that it can read."
        "Set the proxy URL that `doorward env` prints; it carries the agent's token."
    Dw3002 "DW3002" 407 Operator "proxy credentials not valid"
        "The agent's token is not valid: unknown, expired or revoked. The answer does not say which."
        "The operator issues a token for this agent and publishes its environment anew."
    Dw3003 "DW3003" 403 Operator "agent not granted"
        "The agent is known, but is not granted what it asked for."
        "The operator decides whether this agent gets that provider or secret and attaches it."
    Dw4001 "DW4001" 0 Operator "NO_PROXY leads around the proxy"
        "A NO_PROXY entry covers a host that a provider serves, so clients go there directly and without a credential."
        "Take that entry out of NO_PROXY and no_proxy in the agent's environment; loopback is all that belongs there."
    Dw4002 "DW4002" 0 Operator "client ignores the proxy"
        "This client does not read the proxy variables, so its requests go out directly and without a credential."
        "Set the client's own proxy setting; `doorward doctor` names it. A network that has no other way out makes such clients fail visibly."
    Dw4003 "DW4003" 0 Operator "proxy variable in upper case only"
        "Some clients read only the lower-case spelling of the proxy variables (http_proxy, https_proxy)."
        "Set both spellings; `doorward env` prints both."
    Dw4004 "DW4004" 0 Operator "CA bundle without the system's roots"
        "A CA variable replaces the client's whole trust store, and the file that it names holds only our authority (or lacks it)."
        "Point it to the combined `ca-bundle.crt` that doorward publishes."
    Dw5001 "DW5001" 503 Operator "vault locked"
        "The vault's master key is not there or does not open it, so no secret can be used. Nothing was sent."
        "The operator gives the proxy its master key and restarts it; `doorward health` shows when it is ready."
    Dw5002 "DW5002" 503 Operator "control server out of reach"
        "The control server cannot be reached and the last snapshot from it is older than is allowed."
        "The operator checks the server and the way to it; the proxy catches up by itself."
    Dw5003 "DW5003" 503 Operator "audit cannot take a record"
        "Each request has to be recorded before a secret is used, and the audit cannot take a record now: its queue is full or its file cannot be written."
        "The operator makes room on the disk or repairs the audit file's permissions; the proxy goes on by itself once a write works."
    Dw6001 "DW6001" 0 Operator "file error"
        "A provider, token or settings file has mistakes. Each is reported with its line and column; the last good version stays in force."
        "Mend the places that the message names; `doorward check provider -f FILE` reads the file without loading it."
    Dw6002 "DW6002" 409 Operator "still in use"
        "The object cannot be deleted while others refer to it. The detail lists who does."
        "Detach it from those first, then delete it."
    Dw6003 "DW6003" 400 Agent "request not understood"
        "The request to the control API has a body, a query or a header that does not fit the schema of /v1/openapi.json: unknown, missing or doubled fields, or a wrong type."
        "Correct the place that the detail names; unknown fields are refused so that a mistyped one is not silently lost."
    Dw6004 "DW6004" 401 Operator "API credentials missing or not valid"
        "The control API wants an API token as `Authorization: Bearer dwt_…`, and got none that is known, alive and not revoked. The answer does not say which."
        "Log in again with a token that is valid: `doorward login`, or ask for one to be made (`doorward token create`)."
    Dw6005 "DW6005" 403 Operator "not permitted"
        "The token's role does not have the permission that this call needs. The detail names the permission."
        "Somebody with `project:admin` decides whether to make a token with another role; `doorward auth can-i` shows what this one may do."
    Dw6006 "DW6006" 403 Agent "wrong class of token"
        "An agent's token (`dwa_…`) was shown to the control API, or an API token where only agents belong. It was refused by its prefix, before any look-up."
        "Use the token that was made for this place, and find out why the other one was sent here."
    Dw6007 "DW6007" 404 Operator "no such object"
        "There is no object of that name, or it belongs to a project that this token has nothing to do with. The two are told apart nowhere."
        "Check the name and the project; list what there is with `doorward get`."
    Dw6008 "DW6008" 405 Operator "no such method"
        "The control API has this path, but not with this method."
        "See /v1/openapi.json for the methods of the path."
    Dw6009 "DW6009" 409 Operator "exists already"
        "An object of that name exists in this project. Names are never changed and never reused silently."
        "Choose another name, or change the object that is there."
    Dw6010 "DW6010" 412 Operator "changed meanwhile"
        "The object is not in the version that `If-Match` names: somebody else changed it."
        "Read it again, look at what changed, and send the change with the new ETag."
    Dw6011 "DW6011" 428 Operator "version missing"
        "A change of an existing object has to say with `If-Match` which version it is meant for, so that nobody overwrites what he has not seen."
        "Send the ETag of the object as it was read."
    Dw6012 "DW6012" 413 Operator "body too large"
        "The body is over the bound of this endpoint."
        "Send less in one call."
    Dw6013 "DW6013" 415 Operator "body of another type"
        "The control API reads `application/json`, once named and not coded."
        "Send `Content-Type: application/json` and no Content-Encoding."
    Dw6014 "DW6014" 429 Operator "too many calls"
        "This token calls more often than it may, or too many calls without a valid token came from this address. `Retry-After` says when to go on."
        "Slow down; follow changes with `?watch=true` rather than by asking again and again."
    Dw6015 "DW6015" 421 Operator "name of the server refused"
        "The call names a host that is not this server's, or comes from a page of another origin. Both are how web pages reach servers that are not meant for them."
        "Call the server by its own name; an operator adds names with `doorward server --host NAME`."
    Dw6016 "DW6016" 422 Operator "content refused"
        "The body is well formed, and its content breaks a rule: a name, a value that cannot be used, a provider with mistakes. The detail or the list of errors says which."
        "Correct what is named; `doorward check provider -f FILE` says the same offline."
    Dw6017 "DW6017" 422 Operator "idempotency key used otherwise"
        "The `Idempotency-Key` was used within the last day for another call, or that call is still running."
        "Use a new key for each new call, and the same only to repeat one."
    Dw6018 "DW6018" 503 Operator "database not available"
        "The server cannot read or write its database now. Nothing was changed by this call."
        "The operator checks the database and its disk; the call can be repeated."
    Dw6019 "DW6019" 409 Operator "two credentials for one provider"
        "The agent has a provider of the same vendor or hosts attached already; with two, nobody could say which credential is used."
        "Detach the one that is attached, or give this agent only one of them."
    Dw6020 "DW6020" 500 Doorward "fault of the server"
        "The server could not finish the call because of a fault of its own. The log has the request id."
        "Report it with the request id."
    Dw6030 "DW6030" 403 Operator "login refused"
        "The issuer does not take the login's code, or its id token is not one for this server and this login, or the person is a member of no project. The detail says which."
        "Log in again; somebody with `project:admin` makes members with `doorward add member`."
    Dw6031 "DW6031" 503 Operator "issuer not available"
        "The server cannot reach the issuer that people log in with, or the issuer answers what cannot be used. Tokens that were made before go on working."
        "The operator checks `--oidc-issuer`, `--oidc-ca` and the way there."
    Dw6032 "DW6032" 503 Operator "Kubernetes API not available"
        "The server cannot have the tokens of ServiceAccounts reviewed: the Kubernetes API does not answer it, or refuses its question. Nobody is let in by such a token meanwhile; streams that stand go on."
        "The operator checks `--kubernetes-api`, `--kubernetes-ca`, `--kubernetes-token-file`, and that the server may `create` `tokenreviews` (`authentication.k8s.io`)."
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn refuses_words_that_are_no_code() {
        for text in ["", "DW", "DW1", "DW10011", "DW9999", "xx1001", "1001 ", "dw-1001", "ä1001", "DWDW1001"]
        {
            assert_eq!(Code::parse(text), None, "{text:?}");
        }
        for text in ["DW1001", "dw1001", "Dw1001", "1001"] {
            assert_eq!(Code::parse(text), Some(Code::Dw1001), "{text:?}");
        }
    }

    #[test]
    fn no_sentence_says_how_to_get_around_a_check() {
        for entry in Code::ALL.map(Code::entry) {
            let text = format!("{} {} {}", entry.title, entry.meaning, entry.hint).to_lowercase();
            for word in
                ["disable", "turn off", "switch off", "insecure", "skip", "ignore the", "no-verify", "bypass"]
            {
                assert!(!text.contains(word), "{} says {word:?}", entry.name);
            }
        }
    }

    #[test]
    fn every_code_has_one_row_whose_name_and_status_fit() {
        let names: BTreeSet<_> = Code::ALL.into_iter().map(Code::name).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            let entry = code.entry();
            assert_eq!(entry.code, code);
            assert_eq!(format!("{code:?}").to_uppercase(), entry.name);
            assert_eq!(Code::parse(entry.name), Some(code));
            assert!(
                !entry.title.is_empty() && entry.meaning.ends_with('.') && entry.hint.ends_with('.'),
                "{code}"
            );
            assert!(entry.status == 0 || (400..600).contains(&entry.status), "{code}");
            assert!(!entry.name.starts_with("DW4") || entry.status == 0, "{code}");
        }
    }

    #[test]
    fn the_page_has_each_code_in_the_list_and_as_a_section() {
        let page = markdown();
        for code in Code::ALL {
            assert!(page.contains(&format!("\n## {code}\n")), "{code}");
            assert!(page.contains(&format!("| [{code}](#")), "{code}");
        }
    }
}
