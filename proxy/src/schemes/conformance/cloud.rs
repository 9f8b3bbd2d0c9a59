//! Golden requests of the cloud schemes: each puts a token on, as bearer or as git takes it.

use super::{Case, fields, text};

pub(super) fn cases(ascii: &'static [(&'static str, &'static str)]) -> Vec<Case> {
    const BEARER: &str = "GET /\nauthorization: Bearer c4nary-7f.Value_of~the+test=";
    const BASIC: &str =
        "GET /\nauthorization: Basic eC1hY2Nlc3MtdG9rZW46YzRuYXJ5LTdmLlZhbHVlX29mfnRoZSt0ZXN0PQ==";
    let google = fields([("tokenUrl", text("https://a.example/token"))]);
    let azure = fields([
        ("tokenUrl", text("https://a.example/")),
        ("audience", text("https://b.example")),
        ("tenantId", text("72f988bf-86f1-41af-91ab-2d7cd011db47")),
    ]);
    let git = fields([("tokenUrl", text("https://a.example/")), ("as", text("basic"))]);
    let registry =
        fields([("tokenService", text("https://a.example/token")), ("service", text("registry.example"))]);
    let federated = fields([
        ("tokenUrl", text("https://a.example/token")),
        ("impersonationUrl", text("https://a.example/")),
        ("subjectTokenFile", text("/run/tokens/subject")),
    ]);
    let server = || fields([("tokenUrl", text("https://a.example/api/v3")), ("as", text("by-path"))]);
    let by_path =
        [("github-app", server()), ("github-server", fields([]))].into_iter().map(|(scheme, fields)| {
            let (before, after) = (
                "GET /api/v3/user\nauthorization: own",
                "GET /api/v3/user\nauthorization: Bearer c4nary-7f.Value_of~the+test=",
            );
            Case::head(scheme, fields, before, after).with(ascii)
        });
    [
        ("gcp-workload-identity", federated, BEARER),
        ("registry-token", registry, BEARER),
        ("github-app", server(), BASIC),
        ("github-server", fields([]), BASIC),
        ("gcp-service-account", google, BEARER),
        ("azure-client-credentials", azure, BEARER),
        ("github-app", git, BASIC),
    ]
    .into_iter()
    .map(|(scheme, fields, after)| Case::head(scheme, fields, "GET /\nauthorization: own", after).with(ascii))
    .chain(by_path)
    .collect()
}
