//! What is known of Google's services, as data.

use http::Method;

use super::compute::COMPUTE;

/// A collection of resources: `projects/*/topics`, below a version.
#[derive(Debug)]
pub(super) struct Collection {
    /// Its path; `*` is one segment.
    pub(super) path: &'static str,
    /// The permission without its verb.
    pub(super) noun: &'static str,
    /// The standard methods that it has (`put`: items are created with PUT).
    pub(super) standard: &'static [&'static str],
    /// What showing an item asks for.
    pub(super) get: &'static str,
    /// Its own methods (`:publish`, or a segment), with what they ask for.
    pub(super) verbs: &'static [(Method, &'static str, &'static str)],
    /// Its own methods are segments, not behind a colon.
    pub(super) by_segment: bool,
    /// The body of what creates or changes one refers to other things, which are read or used (a source, an account, SQL): it
    /// is opaque as well.
    pub(super) hidden: bool,
}

pub(super) const BASE: Collection = Collection {
    path: "",
    noun: "",
    standard: ALL,
    get: "get",
    verbs: &[],
    by_segment: false,
    hidden: false,
};

const ALL: &[&str] = &["get", "list", "create", "update", "delete"];
pub(super) const READ: &[&str] = &["get", "list"];
pub(super) const READ_DELETE: &[&str] = &["get", "list", "delete"];

/// Methods of their own whose body refers to another thing: a disk, an account, an object (`fileData.fileUri`).
pub(super) const REFERRING: &[&str] = &[
    "attachDisk",
    "setServiceAccount",
    "modifyPushConfig",
    "seek",
    "predict",
    "rawPredict",
    "streamRawPredict",
    "serverStreamingPredict",
    "predictLongRunning",
    "generateContent",
    "streamGenerateContent",
    "embedContent",
];

/// How most services show and set policies.
pub(super) const POLICY: &[(Method, &str, &str)] = &[
    (Method::GET, "getIamPolicy", "getIamPolicy"),
    (Method::POST, "getIamPolicy", "getIamPolicy"),
    (Method::POST, "setIamPolicy", "setIamPolicy"),
];

/// The collections of each service.
pub(super) const SERVICES: &[(&str, &[Collection])] = &[
    ("pubsub", PUBSUB),
    ("secretmanager", SECRETS),
    ("run", RUN),
    ("aiplatform", VERTEX),
    ("bigquery", BIGQUERY),
    ("compute", COMPUTE),
    ("iam", IAM),
    ("iamcredentials", CREDENTIALS),
];

const PUBSUB: &[Collection] = &[
    Collection {
        path: "projects/*/topics",
        noun: "pubsub.topics",
        standard: &["get", "list", "put", "create", "update", "delete"],
        verbs: &[
            (Method::POST, "publish", "publish"),
            (Method::GET, "getIamPolicy", "getIamPolicy"),
            (Method::POST, "setIamPolicy", "setIamPolicy"),
        ],
        // One may take in a bucket's objects.
        hidden: true,
        ..BASE
    },
    Collection {
        path: "projects/*/subscriptions",
        noun: "pubsub.subscriptions",
        // The topic of a new one stands in its body.
        standard: &["get", "list", "put", "create", "update", "delete"],
        verbs: &[
            (Method::POST, "pull", "consume"),
            (Method::POST, "acknowledge", "consume"),
            (Method::POST, "modifyAckDeadline", "consume"),
            (Method::POST, "modifyPushConfig", "update"),
            (Method::POST, "seek", "consume"),
            (Method::GET, "getIamPolicy", "getIamPolicy"),
            (Method::POST, "setIamPolicy", "setIamPolicy"),
        ],
        hidden: true,
        ..BASE
    },
    Collection {
        path: "projects/*/snapshots",
        noun: "pubsub.snapshots",
        standard: READ_DELETE,
        verbs: POLICY,
        ..BASE
    },
    Collection {
        path: "projects/*/schemas",
        noun: "pubsub.schemas",
        standard: READ_DELETE,
        verbs: POLICY,
        ..BASE
    },
];

const SECRET_VERBS: &[(Method, &str, &str)] = &[
    (Method::POST, "addVersion", "secretmanager.versions.add"),
    (Method::GET, "getIamPolicy", "getIamPolicy"),
    (Method::POST, "setIamPolicy", "setIamPolicy"),
];
const VERSION_VERBS: &[(Method, &str, &str)] = &[
    (Method::GET, "access", "access"),
    (Method::POST, "enable", "enable"),
    (Method::POST, "disable", "disable"),
    (Method::POST, "destroy", "destroy"),
];

const SECRETS: &[Collection] = &[
    Collection {
        path: "projects/*/secrets/*/versions",
        noun: "secretmanager.versions",
        standard: READ,
        verbs: VERSION_VERBS,
        ..BASE
    },
    Collection { path: "projects/*/secrets", noun: "secretmanager.secrets", verbs: SECRET_VERBS, ..BASE },
    Collection {
        path: "projects/*/locations/*/secrets/*/versions",
        noun: "secretmanager.versions",
        standard: READ,
        verbs: VERSION_VERBS,
        ..BASE
    },
    Collection {
        path: "projects/*/locations/*/secrets",
        noun: "secretmanager.secrets",
        verbs: SECRET_VERBS,
        ..BASE
    },
];

const RUN: &[Collection] = &[
    // What runs, and as whom, stands in the body; so with jobs and instances.
    Collection {
        path: "projects/*/locations/*/services",
        noun: "run.services",
        verbs: POLICY,
        hidden: true,
        ..BASE
    },
    Collection {
        path: "projects/*/locations/*/services/*/revisions",
        noun: "run.revisions",
        standard: READ_DELETE,
        ..BASE
    },
    Collection {
        path: "projects/*/locations/*/jobs",
        noun: "run.jobs",
        verbs: &[
            (Method::POST, "run", "run"),
            (Method::GET, "getIamPolicy", "getIamPolicy"),
            (Method::POST, "setIamPolicy", "setIamPolicy"),
        ],
        hidden: true,
        ..BASE
    },
    Collection {
        path: "projects/*/locations/*/jobs/*/executions",
        noun: "run.executions",
        standard: READ_DELETE,
        verbs: &[(Method::POST, "cancel", "cancel")],
        ..BASE
    },
    Collection {
        path: "projects/*/locations/*/operations",
        noun: "run.operations",
        standard: READ_DELETE,
        ..BASE
    },
];

const PREDICT: &[(Method, &str, &str)] = &[
    (Method::POST, "predict", "predict"),
    (Method::POST, "rawPredict", "predict"),
    (Method::POST, "streamRawPredict", "predict"),
    (Method::POST, "serverStreamingPredict", "predict"),
    (Method::POST, "predictLongRunning", "predict"),
    (Method::POST, "fetchPredictOperation", "predict"),
    (Method::POST, "generateContent", "predict"),
    (Method::POST, "streamGenerateContent", "predict"),
    (Method::POST, "countTokens", "predict"),
    (Method::POST, "computeTokens", "predict"),
    (Method::POST, "embedContent", "predict"),
];

const VERTEX: &[Collection] = &[
    Collection {
        path: "projects/*/locations/*/publishers/*/models",
        noun: "aiplatform.endpoints",
        standard: &[],
        verbs: PREDICT,
        ..BASE
    },
    Collection {
        path: "projects/*/locations/*/endpoints",
        noun: "aiplatform.endpoints",
        verbs: PREDICT,
        ..BASE
    },
    Collection {
        path: "projects/*/locations/*/models",
        noun: "aiplatform.models",
        standard: READ_DELETE,
        ..BASE
    },
    Collection { path: "projects/*/locations/*/datasets", noun: "aiplatform.datasets", hidden: true, ..BASE },
    Collection {
        path: "projects/*/locations/*/customJobs",
        noun: "aiplatform.customJobs",
        hidden: true,
        verbs: &[(Method::POST, "cancel", "cancel")],
        ..BASE
    },
    Collection {
        path: "projects/*/locations/*/batchPredictionJobs",
        noun: "aiplatform.batchPredictionJobs",
        hidden: true,
        verbs: &[(Method::POST, "cancel", "cancel")],
        ..BASE
    },
    Collection {
        path: "projects/*/locations/*/pipelineJobs",
        noun: "aiplatform.pipelineJobs",
        hidden: true,
        verbs: &[(Method::POST, "cancel", "cancel")],
        ..BASE
    },
    Collection {
        path: "projects/*/locations/*/operations",
        noun: "aiplatform.operations",
        standard: READ_DELETE,
        ..BASE
    },
];

const BIGQUERY: &[Collection] = &[
    // Who may read it stands in its body.
    Collection { path: "projects/*/datasets", noun: "bigquery.datasets", hidden: true, ..BASE },
    Collection {
        path: "projects/*/datasets/*/tables",
        noun: "bigquery.tables",
        verbs: &[
            (Method::GET, "data", "getData"),
            (Method::POST, "insertAll", "updateData"),
            (Method::POST, "getIamPolicy", "getIamPolicy"),
            (Method::POST, "setIamPolicy", "setIamPolicy"),
        ],
        by_segment: true,
        // The query of a view, and the data of an external table, stand in the body.
        hidden: true,
        ..BASE
    },
    Collection {
        path: "projects/*/datasets/*/models",
        noun: "bigquery.models",
        standard: &["get", "list", "update", "delete"],
        ..BASE
    },
    Collection { path: "projects/*/datasets/*/routines", noun: "bigquery.routines", hidden: true, ..BASE },
    // A job may be any statement: it can drop the tables that another call may not.
    Collection {
        path: "projects/*/jobs",
        noun: "bigquery.jobs",
        standard: &["get", "list", "create"],
        verbs: &[(Method::POST, "cancel", "update"), (Method::DELETE, "delete", "delete")],
        by_segment: true,
        hidden: true,
        ..BASE
    },
    Collection {
        path: "projects/*/queries",
        noun: "bigquery.jobs",
        standard: &["get", "create"],
        // It shows the rows.
        get: "bigquery.tables.getData",
        hidden: true,
        ..BASE
    },
];

const IAM: &[Collection] = &[
    Collection { path: "projects/*/serviceAccounts", noun: "iam.serviceAccounts", verbs: POLICY, ..BASE },
    Collection {
        path: "projects/*/serviceAccounts/*/keys",
        noun: "iam.serviceAccountKeys",
        standard: &["get", "list", "create", "delete"],
        ..BASE
    },
];

const CREDENTIALS: &[Collection] = &[Collection {
    path: "projects/*/serviceAccounts",
    noun: "iam.serviceAccounts",
    standard: &[],
    verbs: &[
        (Method::POST, "generateAccessToken", "getAccessToken"),
        (Method::POST, "generateIdToken", "getOpenIdToken"),
        (Method::POST, "signBlob", "signBlob"),
        (Method::POST, "signJwt", "signJwt"),
    ],
    ..BASE
}];
