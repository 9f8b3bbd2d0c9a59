//! The grammar of a ModelProvider's `spec`, as data.

use super::schema::{Field, LIMITS, NETWORK, Shape, TEXTS, optional, required};

pub(super) const SPEC: &[Field] = &[
    required("provider", Shape::Text, "The vendor."),
    optional(
        "apiKeySecretRef",
        Shape::Map(&[
            required("name", Shape::Text, "The secret's name. Never its value."),
            optional("key", Shape::Text, "Its key; `api-key`, then `token`, where it is left out."),
        ]),
        "The credential. Without it nothing is injected.",
    ),
    optional(
        "endpoint",
        Shape::Text,
        "The base URL, for a vendor without its own or in place of it; requests beside its path are refused. `http://` is spoken where it says so.",
    ),
    optional(
        "apiVersion",
        Shape::Text,
        "azure-openai, anthropic: the API version for requests that name none.",
    ),
    optional("allowedModels", TEXTS, "The models that may be asked, with `*`; any where it is left out."),
    optional("deniedModels", TEXTS, "The models that may not be asked, with `*`; beats `allowedModels`."),
    optional(
        "maxTokensPerDay",
        Shape::Count,
        "Tokens in and out from 00:00 to 24:00 UTC, of all agents together, as the vendor counts them.",
    ),
    optional(
        "maxTokensPerRequest",
        Shape::Count,
        "The most that a request may ask to be generated; one that sets no limit itself is refused.",
    ),
    optional(
        "retry",
        Shape::Map(RETRY),
        "Asks again after 429, 5xx and failed connections, where nothing was answered yet.",
    ),
    optional(
        "fallbacks",
        TEXTS,
        "Model providers of the same project and API that are asked next, in base-URL mode.",
    ),
    optional(
        "limits",
        Shape::Map(LIMITS),
        "Rate and time limits; each attempt of `retry` counts as a request.",
    ),
    optional("tls", Shape::Map(TLS), "How the endpoint is verified."),
    optional(
        "network",
        Shape::Map(NETWORK),
        "Addresses that are refused by default and that the endpoint needs.",
    ),
];

const RETRY: &[Field] = &[
    optional("maxAttempts", Shape::Count, "Attempts in all; 3 where it is left out, 10 at most."),
    optional(
        "initialBackoffMs",
        Shape::Count,
        "The wait before the second one, doubled for each after it; 200 where it is left out.",
    ),
    optional("maxBackoffMs", Shape::Count, "The longest wait; 5000 where it is left out."),
];

const TLS: &[Field] = &[optional(
    "upstreamCA",
    Shape::Text,
    "A file of extra roots (PEM) for this endpoint, relative to this file.",
)];
