//! Every surface on which a credential is put, between every pair of protocols of the agent's side and the upstream's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::agent::h2;
use harness::{Origin, Proxy, Seen};

use crate::world::{HOST, token};

const PROTOCOLS: [(&str, &str); 2] = [("h1", "HTTP/1.1"), ("h2", "HTTP/2.0")];

/// A way to put a credential on a request, a request that gets it so, and what the origin has to get: `@` is the secret, `$` the dummy.
struct Surface {
    name: &'static str,
    auth: &'static str,
    path: &'static str,
    header: (&'static str, &'static str),
    body: &'static str,
    at: At,
}

/// Where the origin finds the secret, and nowhere else.
#[derive(Debug)]
enum At {
    Header(&'static str, &'static str),
    /// The pair in a Basic value.
    Basic(&'static str),
    Target(&'static str),
    /// The pairs in Cookie, sorted.
    Cookie([&'static str; 3]),
    Json(&'static str),
}

const NONE: (&str, &str) = ("x-other", "kept");

const fn surface(name: &'static str, auth: &'static str, at: At) -> Surface {
    Surface { name, auth, path: "/x?a=1", header: NONE, body: "", at }
}

fn surfaces() -> Vec<Surface> {
    let placeholder = "placeholder: $, inject: [{hosts: [#], placeholder: {in: [\"+\"]}}]";
    vec![
        surface("bearer", "type: bearer", At::Header("authorization", "Bearer @")),
        surface("header", "type: header, header: X-Key", At::Header("x-key", "@")),
        surface("prefix", "type: api-key, header: X-Auth, prefix: \"Key \"", At::Header("x-auth", "Key @")),
        surface(
            "template",
            "inject: [{hosts: [#], header: X-Auth, template: \"t={{token}};v=2\"}]",
            At::Header("x-auth", "t=@;v=2"),
        ),
        surface("param", "type: api-key, param: key", At::Target("/x?a=1&key=@")),
        surface("query", "type: query, param: key", At::Target("/x?a=1&key=@")),
        surface("basic", "type: basic, username: service", At::Basic("service:@")),
        Surface {
            path: "/bot$/x?a=1",
            ..surface(
                "path",
                "type: path, template: \"/bot{{token}}/\", placeholder: $",
                At::Target("/bot@/x?a=1"),
            )
        },
        Surface {
            header: ("cookie", "a=1; sid=agents-own; b=2"),
            ..surface("cookie", "type: cookie, name: sid", At::Cookie(["a=1", "b=2", "sid=@"]))
        },
        Surface {
            body: r#"{"auth":{"key":"agents-own"},"n":1}"#,
            ..surface(
                "body",
                "inject: [{hosts: [#], body: {jsonPointer: /auth/key}}]",
                At::Json(r#"{"auth":{"key":"@"},"n":1}"#),
            )
        },
        Surface {
            header: ("x-key", "k=$;v=1"),
            ..surface("in-header", placeholder, At::Header("x-key", "k=@;v=1"))
        },
        Surface { path: "/x?a=1&k=$", ..surface("in-query", placeholder, At::Target("/x?a=1&k=@")) },
        Surface { path: "/x/$/y?a=1", ..surface("in-path", placeholder, At::Target("/x/@/y?a=1")) },
        Surface {
            // Sent in base64.
            header: ("authorization", "Basic user:$"),
            ..surface("in-basic", placeholder, At::Basic("user:@"))
        },
        Surface {
            body: r#"{"auth":{"key":"$"},"n":1}"#,
            ..surface("in-body", placeholder, At::Json(r#"{"auth":{"key":"@"},"n":1}"#))
        },
    ]
}

impl Surface {
    fn host(&self) -> String {
        format!("{}.example.com", self.name)
    }

    /// Every provider has a dummy of its own.
    fn dummy(&self) -> String {
        format!("ghp_dw0{}0123456789abcdef", self.name)
    }

    fn spec(&self) -> String {
        let place = match self.name {
            "in-header" => "header:X-Key",
            "in-query" => "query:k",
            "in-path" => "path",
            "in-basic" => "basic",
            _ => "body:/auth/key",
        };
        let auth = self.auth.replace('$', &self.dummy()).replace('#', &self.host()).replace('+', place);
        token(&auth).replacen(HOST, &self.host(), 1)
    }

    /// The agent's request, by this protocol.
    async fn ask(&self, proxy: &Proxy, down: &str) {
        let agent = proxy.agent();
        let mut client = agent.client(down, &self.host()).await;
        let filled = |text: &str| text.replace('$', &self.dummy());
        let (name, value) = (self.header.0, filled(self.header.1));
        let value = match value.strip_prefix("Basic ") {
            Some(pair) => format!("Basic {}", STANDARD.encode(pair)),
            None => value,
        };
        let request = client.request("POST", &filled(self.path)).header(name, value);
        let request = request.header("content-type", "application/json");
        let reply = client.send(request.body(h2::full(filled(self.body))).unwrap()).await;
        assert_eq!(reply.status, 200, "{}: {}", self.name, reply.text());
    }

    /// The secret is where it belongs, once, and the dummy nowhere.
    fn assert_put(&self, seen: &Seen, secret: &str) {
        let filled = |text: &str| text.replace('@', secret);
        let mut plain = 1;
        match &self.at {
            At::Header(name, value) => assert_eq!(seen.headers_named(name), [filled(value)]),
            At::Basic(pair) => {
                let value = format!("Basic {}", STANDARD.encode(filled(pair)));
                assert_eq!(seen.headers_named("authorization"), [value]);
                plain = 0;
            }
            At::Target(target) => assert_eq!(seen.target, filled(target)),
            At::Cookie(wanted) => {
                let cookie = seen.headers_named("cookie").join("; ");
                let mut pairs: Vec<_> = cookie.split("; ").collect();
                pairs.sort_unstable();
                assert_eq!(pairs, wanted.map(&filled));
            }
            At::Json(wanted) => {
                let sent: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
                assert_eq!(sent, serde_json::from_str::<serde_json::Value>(&filled(wanted)).unwrap());
                assert_eq!(seen.header("content-length"), Some(seen.body.len().to_string().as_str()));
            }
        }
        let headers = seen.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
        let all = format!(
            "{}\n{}{}",
            seen.target,
            headers.collect::<String>(),
            String::from_utf8_lossy(&seen.body)
        );
        assert_eq!(all.matches(secret).count(), plain, "{all}");
        assert!(!all.contains(&self.dummy()) && !all.contains("agents-own"), "{all}");
        let has_authorization = matches!(self.at, At::Basic(_) | At::Header("authorization", _));
        assert_eq!(seen.header("authorization").is_some(), has_authorization, "{all}");
        assert_eq!(seen.header("x-other"), (self.header == NONE).then_some("kept"), "{all}");
        assert!(seen.complete, "{all}");
    }
}

#[tokio::test]
async fn every_surface_over_every_pair_of_protocols() {
    let surfaces = surfaces();
    let hosts: Vec<String> = surfaces.iter().map(Surface::host).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    for (up, version) in PROTOCOLS {
        let origin = Origin::builder(&hosts).only(up).start().await;
        let with = |builder: harness::ProxyBuilder, one: &Surface| builder.provider(one.name, &one.spec());
        let proxy = surfaces.iter().fold(Proxy::builder(), with).origin(&origin).start().await;
        for (down, _) in PROTOCOLS {
            for one in &surfaces {
                let before = origin.requests().len();
                one.ask(&proxy, down).await;
                let seen = origin.last();
                eprintln!("{} from {down} to {up}", one.name);
                assert_eq!((origin.requests().len(), seen.version.as_str()), (before + 1, version));
                assert_eq!((seen.method.as_str(), seen.authority.as_str()), ("POST", one.host().as_str()));
                one.assert_put(&seen, proxy.canary());
            }
        }
    }
}
