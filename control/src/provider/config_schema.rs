//! `spec.config` as data: the settings of the cloud types, of github and of container registries.

use super::schema::{Field, Shape, TEXTS, optional, required};

pub(super) const CONFIG: &[Field] = &[
    optional(
        "region",
        Shape::Text,
        "aws: the one region that requests are signed for; services with one endpoint for all regions (IAM, STS) are not bound by it there.",
    ),
    optional(
        "services",
        TEXTS,
        "aws: the services that requests are signed for, by their signing names (`s3`, `sqs`), or by the label of an endpoint where code of anybody's answers (`lambda-url`).",
    ),
    optional(
        "assumeRole",
        Shape::Map(ASSUME_ROLE),
        "aws: a role that is assumed with the credential, through STS of `config.region`; requests are signed with its temporary keys, in a session named after the agent.",
    ),
    optional("project", Shape::Text, "gcp: the project that the agent's libraries are told."),
    optional("scopes", TEXTS, "gcp: the OAuth scopes that tokens are asked for."),
    optional(
        "token",
        Shape::Text,
        "gcp: `exchanged` (the default) for a token of Google's token endpoint, `self-signed` for one that the key signs itself.",
    ),
    optional(
        "subjectTokenFile",
        Shape::Text,
        "gcp, auth type `workload-identity`: the file with the subject token, which has to be named (the credential file's `credential_source.file` is not read); the proxy may read its folder from its start on, so that it is none of the system's.",
    ),
    optional(
        "cloud",
        Shape::Text,
        "azure: `public` (the default), `usgovernment` or `china`; each has its own hosts, login host and audiences.",
    ),
    optional("tenantId", Shape::Text, "azure: the directory (tenant) id, a UUID."),
    optional(
        "tokenService",
        Shape::Text,
        "docker-registry, auth type `token-service`: the URL of the registry's token service (`realm` in its `WWW-Authenticate: Bearer`); known for Docker Hub, ghcr.io, Quay and registry.gitlab.com.",
    ),
    optional(
        "service",
        Shape::Text,
        "docker-registry, auth type `token-service`: the registry's name there (`service` in the same header); its host where it is left out.",
    ),
    optional(
        "permissions",
        TEXTS,
        "github, auth type `github-app`: what its tokens may do, as `contents:read`; all that the installation may where it is left out.",
    ),
];

const ASSUME_ROLE: &[Field] = &[
    required("arn", Shape::Text, "The role's ARN."),
    optional("externalId", Shape::Text, "The external id that the role's trust policy asks for; no secret."),
    optional(
        "duration",
        Shape::Count,
        "How long its keys are asked for, in seconds, 900 to 43200; 3600 where it is left out.",
    ),
];
