//! A scheme table for tests, as the data plane's has it.

use crate::catalog::{FieldKind, FieldSpec, SchemeSpec};

const fn field(
    name: &'static str,
    kind: FieldKind,
    required: bool,
    default: Option<&'static str>,
) -> FieldSpec {
    FieldSpec { name, kind, required, default, doc: "For tests." }
}

const TEMPLATE: FieldSpec = field("template", FieldKind::Template, false, Some("{{token}}"));
const PATH: &[FieldSpec] = &[field("template", FieldKind::PathTemplate, true, None)];

const fn scheme(
    name: &'static str,
    auth_types: &'static [&'static str],
    inject_key: Option<&'static str>,
    auth_fields: &'static [FieldSpec],
    inject_fields: &'static [FieldSpec],
    default_keys: &'static [&'static str],
) -> SchemeSpec {
    SchemeSpec {
        name,
        auth_types,
        inject_key,
        summary: "For tests.",
        auth_fields,
        inject_fields,
        default_keys,
    }
}

/// The table.
pub(crate) static SCHEMES: &[&SchemeSpec] = &[
    &scheme(
        "oauth2-refresh",
        &["oauth2-refresh"],
        Some("oauth2-refresh"),
        &[field("tokenUrl", FieldKind::TokenUrl, true, None)],
        &[
            field("tokenUrl", FieldKind::TokenUrl, true, None),
            field("clientId", FieldKind::Text, false, None),
            field("tokenBody", FieldKind::Text, false, None),
            field("scopes", FieldKind::Text, false, None),
            field("accountHeader", FieldKind::HeaderName, false, None),
            field("listed", FieldKind::Text, false, None),
            field("alsoAnswered", FieldKind::Text, false, None),
        ],
        &["refresh_token"],
    ),
    &scheme(
        "hmac",
        &["hmac"],
        None,
        &[field("sign", FieldKind::Message, true, None), field("headers", FieldKind::Headers, false, None)],
        &[],
        &["secret"],
    ),
    &scheme(
        "digest",
        &["digest"],
        Some("digest"),
        &[field("realm", FieldKind::Text, false, None)],
        &[field("realm", FieldKind::Text, false, None)],
        &["password"],
    ),
    &scheme(
        "aws-sigv4",
        &[],
        Some("aws-sigv4"),
        &[],
        &[
            field("region", FieldKind::Labels, false, None),
            field("services", FieldKind::Labels, false, None),
            field("assumeRole.arn", FieldKind::RoleArn, false, None),
            field("assumeRole.externalId", FieldKind::ExternalId, false, None),
            field("assumeRole.duration", FieldKind::Seconds(900, 43_200), false, None),
        ],
        &["secret_access_key"],
    ),
    &scheme(
        "registry-token",
        &[],
        Some("registry-token"),
        &[],
        &[
            field("tokenService", FieldKind::TokenService, false, None),
            field("service", FieldKind::ServiceName, false, None),
        ],
        &["password", "token"],
    ),
    &scheme("github-server", &[], Some("github-server"), &[], &[], &["token"]),
    &scheme(
        "gcp-workload-identity",
        &[],
        Some("gcp-workload-identity"),
        &[],
        &[
            field("subjectTokenFile", FieldKind::File, true, None),
            field("tokenUrl", FieldKind::TokenUrl, false, Some("https://sts.googleapis.com/v1/token")),
        ],
        &["key.json"],
    ),
    &scheme(
        "gcp-service-account",
        &[],
        Some("gcp-service-account"),
        &[],
        &[
            field("scopes", FieldKind::Scopes, false, None),
            field("project", FieldKind::Labels, false, None),
            field("tokenUrl", FieldKind::TokenUrl, false, Some("https://oauth2.googleapis.com/token")),
        ],
        &["key.json"],
    ),
    &scheme(
        "azure-client-credentials",
        &[],
        Some("azure-client-credentials"),
        &[],
        &[
            field("audience", FieldKind::Text, true, None),
            field("tenantId", FieldKind::Labels, false, None),
            field("cloud", FieldKind::Choice(&["public", "usgovernment", "china"]), false, Some("public")),
            field("tokenUrl", FieldKind::TokenUrl, false, Some("https://login.microsoftonline.com/")),
        ],
        &["client_secret"],
    ),
    &scheme(
        "github-app",
        &[],
        Some("github-app"),
        &[],
        &[
            field("as", FieldKind::Choice(&["bearer", "basic", "by-path"]), false, Some("bearer")),
            field("permissions", FieldKind::Scopes, false, None),
            field("repositories", FieldKind::Scopes, false, None),
            field("tokenUrl", FieldKind::TokenUrl, false, Some("https://api.github.com/")),
        ],
        &["private_key"],
    ),
    &scheme(
        "header",
        &["header"],
        Some("header"),
        &[
            field("header", FieldKind::HeaderName, true, None),
            field("prefix", FieldKind::Text, false, Some("")),
        ],
        &[field("header", FieldKind::HeaderName, true, None), TEMPLATE],
        &["token"],
    ),
    &scheme(
        "api_key",
        &["api-key", "bearer"],
        None,
        &[
            field("header", FieldKind::HeaderName, false, None),
            field("prefix", FieldKind::Text, false, None),
            field("param", FieldKind::ParamName, false, None),
        ],
        &[],
        &["token"],
    ),
    &scheme(
        "query",
        &["query"],
        Some("query"),
        &[field("param", FieldKind::ParamName, true, None)],
        &[field("name", FieldKind::ParamName, true, None), TEMPLATE],
        &["token"],
    ),
    &scheme(
        "basic",
        &["basic"],
        Some("basic"),
        &[field("username", FieldKind::Text, false, None)],
        &[
            field("username", FieldKind::Text, false, None),
            field("password", FieldKind::Text, false, Some("{{token}}")),
        ],
        &["password", "token"],
    ),
    &scheme("mtls", &["mtls"], None, &[], &[], &["tls.crt"]),
    &scheme("path", &["path"], Some("path"), PATH, PATH, &["token"]),
    &scheme(
        "cookie",
        &["cookie"],
        Some("cookie"),
        &[field("name", FieldKind::CookieName, true, None)],
        &[field("name", FieldKind::CookieName, true, None), TEMPLATE],
        &["token"],
    ),
    &scheme(
        "body",
        &[],
        Some("body"),
        &[],
        &[field("jsonPointer", FieldKind::JsonPointer, true, None), TEMPLATE],
        &["token"],
    ),
    &scheme(
        "placeholder",
        &[],
        Some("placeholder"),
        &[],
        &[field("in", FieldKind::Spots, true, None), TEMPLATE],
        &["token"],
    ),
];
