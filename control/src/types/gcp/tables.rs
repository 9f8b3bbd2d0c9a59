//! What is known of Google's services, as data.

use http::Method;

/// A collection of resources: `projects/*/topics`, below a version.
#[derive(Debug)]
pub(super) struct Collection {
    /// Its path; `*` is one segment.
    pub(super) path: &'static str,
    /// The permission without its verb.
    pub(super) noun: &'static str,
    /// The standard methods that it has (`put`: items are created with PUT).
    pub(super) standard: &'static [&'static str],
    /// Its own methods (`:publish`, or a segment), with what they ask for.
    pub(super) verbs: &'static [(Method, &'static str, &'static str)],
    /// Its own methods are segments, not behind a colon.
    pub(super) by_segment: bool,
    /// The body of what changes it could do something else beside (SQL).
    pub(super) opaque: bool,
    /// What is created or changed refers to another thing in the body.
    pub(super) hidden: bool,
}

const BASE: Collection = Collection {
    path: "",
    noun: "",
    standard: ALL,
    verbs: &[],
    by_segment: false,
    opaque: false,
    hidden: false,
};

const ALL: &[&str] = &["get", "list", "create", "update", "delete"];
const READ: &[&str] = &["get", "list"];
const READ_DELETE: &[&str] = &["get", "list", "delete"];

/// How most services show and set policies.
const POLICY: &[(Method, &str, &str)] = &[
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
    Collection { path: "projects/*/locations/*/services", noun: "run.services", verbs: POLICY, ..BASE },
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
    Collection { path: "projects/*/locations/*/datasets", noun: "aiplatform.datasets", ..BASE },
    Collection {
        path: "projects/*/locations/*/customJobs",
        noun: "aiplatform.customJobs",
        verbs: &[(Method::POST, "cancel", "cancel")],
        ..BASE
    },
    Collection {
        path: "projects/*/locations/*/batchPredictionJobs",
        noun: "aiplatform.batchPredictionJobs",
        verbs: &[(Method::POST, "cancel", "cancel")],
        ..BASE
    },
    Collection {
        path: "projects/*/locations/*/pipelineJobs",
        noun: "aiplatform.pipelineJobs",
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
    Collection { path: "projects/*/datasets", noun: "bigquery.datasets", ..BASE },
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
        opaque: true,
        ..BASE
    },
    Collection {
        path: "projects/*/datasets/*/models",
        noun: "bigquery.models",
        standard: &["get", "list", "update", "delete"],
        ..BASE
    },
    Collection { path: "projects/*/datasets/*/routines", noun: "bigquery.routines", opaque: true, ..BASE },
    // A job may be any statement: it can drop the tables that another call may not.
    Collection {
        path: "projects/*/jobs",
        noun: "bigquery.jobs",
        standard: &["get", "list", "create"],
        verbs: &[(Method::POST, "cancel", "update"), (Method::DELETE, "delete", "delete")],
        by_segment: true,
        opaque: true,
        hidden: true,
    },
    Collection {
        path: "projects/*/queries",
        noun: "bigquery.jobs",
        standard: &["get", "create"],
        opaque: true,
        hidden: true,
        ..BASE
    },
];

const INSTANCE_VERBS: &[(Method, &str, &str)] = &[
    (Method::POST, "start", "start"),
    (Method::POST, "stop", "stop"),
    (Method::POST, "reset", "reset"),
    (Method::POST, "suspend", "suspend"),
    (Method::POST, "resume", "resume"),
    (Method::POST, "setMetadata", "setMetadata"),
    (Method::POST, "setTags", "setTags"),
    (Method::POST, "setLabels", "setLabels"),
    (Method::POST, "setMachineType", "setMachineType"),
    (Method::POST, "setServiceAccount", "setServiceAccount"),
    (Method::POST, "attachDisk", "attachDisk"),
    (Method::POST, "detachDisk", "detachDisk"),
    (Method::GET, "serialPort", "getSerialPortOutput"),
    (Method::GET, "screenshot", "getScreenshot"),
    (Method::GET, "getIamPolicy", "getIamPolicy"),
    (Method::POST, "setIamPolicy", "setIamPolicy"),
];

/// A zone's, a region's or everybody's.
const fn compute(path: &'static str, noun: &'static str) -> Collection {
    Collection { path, noun, by_segment: true, verbs: POLICY, ..BASE }
}

const COMPUTE: &[Collection] = &[
    Collection { verbs: INSTANCE_VERBS, ..compute("projects/*/zones/*/instances", "compute.instances") },
    compute("projects/*/zones/*/disks", "compute.disks"),
    compute("projects/*/zones/*/instanceGroupManagers", "compute.instanceGroupManagers"),
    compute("projects/*/zones/*/instanceGroups", "compute.instanceGroups"),
    Collection { standard: READ, ..compute("projects/*/zones/*/machineTypes", "compute.machineTypes") },
    Collection {
        standard: READ_DELETE,
        ..compute("projects/*/zones/*/operations", "compute.zoneOperations")
    },
    compute("projects/*/regions/*/subnetworks", "compute.subnetworks"),
    compute("projects/*/regions/*/addresses", "compute.addresses"),
    compute("projects/*/regions/*/disks", "compute.disks"),
    Collection {
        standard: READ_DELETE,
        ..compute("projects/*/regions/*/operations", "compute.regionOperations")
    },
    compute("projects/*/global/images", "compute.images"),
    compute("projects/*/global/snapshots", "compute.snapshots"),
    compute("projects/*/global/firewalls", "compute.firewalls"),
    compute("projects/*/global/networks", "compute.networks"),
    compute("projects/*/global/instanceTemplates", "compute.instanceTemplates"),
    Collection {
        standard: READ_DELETE,
        ..compute("projects/*/global/operations", "compute.globalOperations")
    },
    Collection { standard: READ, verbs: &[], ..compute("projects/*/zones", "compute.zones") },
    Collection { standard: READ, verbs: &[], ..compute("projects/*/regions", "compute.regions") },
    Collection {
        standard: &["get"],
        verbs: &[(Method::POST, "setCommonInstanceMetadata", "setCommonInstanceMetadata")],
        ..compute("projects", "compute.projects")
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

/// gRPC methods: service, path, permission. What they act on is in the body.
pub(super) const GRPC: &[(&str, &str, &str)] = &[
    ("pubsub", "/google.pubsub.v1.Publisher/Publish", "pubsub.topics.publish"),
    ("pubsub", "/google.pubsub.v1.Publisher/GetTopic", "pubsub.topics.get"),
    ("pubsub", "/google.pubsub.v1.Publisher/ListTopics", "pubsub.topics.list"),
    ("pubsub", "/google.pubsub.v1.Publisher/CreateTopic", "pubsub.topics.create"),
    ("pubsub", "/google.pubsub.v1.Publisher/UpdateTopic", "pubsub.topics.update"),
    ("pubsub", "/google.pubsub.v1.Publisher/DeleteTopic", "pubsub.topics.delete"),
    ("pubsub", "/google.pubsub.v1.Subscriber/Pull", "pubsub.subscriptions.consume"),
    ("pubsub", "/google.pubsub.v1.Subscriber/StreamingPull", "pubsub.subscriptions.consume"),
    ("pubsub", "/google.pubsub.v1.Subscriber/Acknowledge", "pubsub.subscriptions.consume"),
    ("pubsub", "/google.pubsub.v1.Subscriber/ModifyAckDeadline", "pubsub.subscriptions.consume"),
    ("pubsub", "/google.pubsub.v1.Subscriber/GetSubscription", "pubsub.subscriptions.get"),
    ("pubsub", "/google.pubsub.v1.Subscriber/ListSubscriptions", "pubsub.subscriptions.list"),
    ("pubsub", "/google.pubsub.v1.Subscriber/CreateSubscription", "pubsub.subscriptions.create"),
    ("pubsub", "/google.pubsub.v1.Subscriber/DeleteSubscription", "pubsub.subscriptions.delete"),
    (
        "secretmanager",
        "/google.cloud.secretmanager.v1.SecretManagerService/AccessSecretVersion",
        "secretmanager.versions.access",
    ),
    (
        "secretmanager",
        "/google.cloud.secretmanager.v1.SecretManagerService/AddSecretVersion",
        "secretmanager.versions.add",
    ),
    (
        "secretmanager",
        "/google.cloud.secretmanager.v1.SecretManagerService/GetSecret",
        "secretmanager.secrets.get",
    ),
    (
        "secretmanager",
        "/google.cloud.secretmanager.v1.SecretManagerService/ListSecrets",
        "secretmanager.secrets.list",
    ),
    (
        "secretmanager",
        "/google.cloud.secretmanager.v1.SecretManagerService/CreateSecret",
        "secretmanager.secrets.create",
    ),
    (
        "secretmanager",
        "/google.cloud.secretmanager.v1.SecretManagerService/DeleteSecret",
        "secretmanager.secrets.delete",
    ),
    ("storage", "/google.storage.v2.Storage/ReadObject", "storage.objects.get"),
    ("storage", "/google.storage.v2.Storage/BidiReadObject", "storage.objects.get"),
    ("storage", "/google.storage.v2.Storage/GetObject", "storage.objects.get"),
    ("storage", "/google.storage.v2.Storage/ListObjects", "storage.objects.list"),
    ("storage", "/google.storage.v2.Storage/WriteObject", "storage.objects.create"),
    ("storage", "/google.storage.v2.Storage/BidiWriteObject", "storage.objects.create"),
    ("storage", "/google.storage.v2.Storage/DeleteObject", "storage.objects.delete"),
];

/// Actions that refusals show by name.
pub(super) const KNOWN: &[&str] = &[
    "storage.buckets.get",
    "storage.buckets.list",
    "storage.buckets.create",
    "storage.buckets.update",
    "storage.buckets.delete",
    "storage.buckets.getIamPolicy",
    "storage.buckets.setIamPolicy",
    "storage.objects.get",
    "storage.objects.list",
    "storage.objects.create",
    "storage.objects.update",
    "storage.objects.delete",
    "storage.objects.restore",
    "storage.objects.getIamPolicy",
    "storage.objects.setIamPolicy",
    "storage.hmacKeys.get",
    "storage.hmacKeys.list",
    "storage.hmacKeys.create",
    "storage.hmacKeys.update",
    "storage.hmacKeys.delete",
    "resourcemanager.projects.get",
    "pubsub.topics.get",
    "pubsub.topics.list",
    "pubsub.topics.create",
    "pubsub.topics.update",
    "pubsub.topics.delete",
    "pubsub.topics.publish",
    "pubsub.topics.getIamPolicy",
    "pubsub.topics.setIamPolicy",
    "pubsub.subscriptions.get",
    "pubsub.subscriptions.list",
    "pubsub.subscriptions.create",
    "pubsub.subscriptions.update",
    "pubsub.subscriptions.delete",
    "pubsub.subscriptions.consume",
    "pubsub.subscriptions.getIamPolicy",
    "pubsub.subscriptions.setIamPolicy",
    "pubsub.snapshots.get",
    "pubsub.snapshots.list",
    "pubsub.snapshots.delete",
    "pubsub.snapshots.getIamPolicy",
    "pubsub.snapshots.setIamPolicy",
    "pubsub.schemas.get",
    "pubsub.schemas.list",
    "pubsub.schemas.delete",
    "pubsub.schemas.getIamPolicy",
    "pubsub.schemas.setIamPolicy",
    "secretmanager.secrets.get",
    "secretmanager.secrets.list",
    "secretmanager.secrets.create",
    "secretmanager.secrets.update",
    "secretmanager.secrets.delete",
    "secretmanager.secrets.getIamPolicy",
    "secretmanager.secrets.setIamPolicy",
    "secretmanager.versions.get",
    "secretmanager.versions.list",
    "secretmanager.versions.access",
    "secretmanager.versions.add",
    "secretmanager.versions.enable",
    "secretmanager.versions.disable",
    "secretmanager.versions.destroy",
    "run.services.get",
    "run.services.list",
    "run.services.create",
    "run.services.update",
    "run.services.delete",
    "run.services.getIamPolicy",
    "run.services.setIamPolicy",
    "run.revisions.get",
    "run.revisions.list",
    "run.revisions.delete",
    "run.jobs.get",
    "run.jobs.list",
    "run.jobs.create",
    "run.jobs.update",
    "run.jobs.delete",
    "run.jobs.run",
    "run.jobs.getIamPolicy",
    "run.jobs.setIamPolicy",
    "run.executions.get",
    "run.executions.list",
    "run.executions.delete",
    "run.executions.cancel",
    "run.operations.get",
    "run.operations.list",
    "run.operations.delete",
    "aiplatform.endpoints.get",
    "aiplatform.endpoints.list",
    "aiplatform.endpoints.create",
    "aiplatform.endpoints.update",
    "aiplatform.endpoints.delete",
    "aiplatform.endpoints.predict",
    "aiplatform.models.get",
    "aiplatform.models.list",
    "aiplatform.models.delete",
    "aiplatform.datasets.get",
    "aiplatform.datasets.list",
    "aiplatform.datasets.create",
    "aiplatform.datasets.update",
    "aiplatform.datasets.delete",
    "aiplatform.customJobs.get",
    "aiplatform.customJobs.list",
    "aiplatform.customJobs.create",
    "aiplatform.customJobs.update",
    "aiplatform.customJobs.delete",
    "aiplatform.customJobs.cancel",
    "aiplatform.batchPredictionJobs.get",
    "aiplatform.batchPredictionJobs.list",
    "aiplatform.batchPredictionJobs.create",
    "aiplatform.batchPredictionJobs.update",
    "aiplatform.batchPredictionJobs.delete",
    "aiplatform.batchPredictionJobs.cancel",
    "aiplatform.pipelineJobs.get",
    "aiplatform.pipelineJobs.list",
    "aiplatform.pipelineJobs.create",
    "aiplatform.pipelineJobs.update",
    "aiplatform.pipelineJobs.delete",
    "aiplatform.pipelineJobs.cancel",
    "aiplatform.operations.get",
    "aiplatform.operations.list",
    "aiplatform.operations.delete",
    "bigquery.datasets.get",
    "bigquery.datasets.list",
    "bigquery.datasets.create",
    "bigquery.datasets.update",
    "bigquery.datasets.delete",
    "bigquery.tables.get",
    "bigquery.tables.list",
    "bigquery.tables.create",
    "bigquery.tables.update",
    "bigquery.tables.delete",
    "bigquery.tables.getData",
    "bigquery.tables.updateData",
    "bigquery.tables.getIamPolicy",
    "bigquery.tables.setIamPolicy",
    "bigquery.models.get",
    "bigquery.models.list",
    "bigquery.models.update",
    "bigquery.models.delete",
    "bigquery.routines.get",
    "bigquery.routines.list",
    "bigquery.routines.create",
    "bigquery.routines.update",
    "bigquery.routines.delete",
    "bigquery.jobs.get",
    "bigquery.jobs.list",
    "bigquery.jobs.create",
    "bigquery.jobs.update",
    "bigquery.jobs.delete",
    "compute.instances.get",
    "compute.instances.list",
    "compute.instances.create",
    "compute.instances.update",
    "compute.instances.delete",
    "compute.instances.start",
    "compute.instances.stop",
    "compute.instances.reset",
    "compute.instances.suspend",
    "compute.instances.resume",
    "compute.instances.setMetadata",
    "compute.instances.setTags",
    "compute.instances.setLabels",
    "compute.instances.setMachineType",
    "compute.instances.setServiceAccount",
    "compute.instances.attachDisk",
    "compute.instances.detachDisk",
    "compute.instances.getSerialPortOutput",
    "compute.instances.getScreenshot",
    "compute.instances.getIamPolicy",
    "compute.instances.setIamPolicy",
    "compute.disks.get",
    "compute.disks.list",
    "compute.disks.create",
    "compute.disks.update",
    "compute.disks.delete",
    "compute.disks.getIamPolicy",
    "compute.disks.setIamPolicy",
    "compute.instanceGroupManagers.get",
    "compute.instanceGroupManagers.list",
    "compute.instanceGroupManagers.create",
    "compute.instanceGroupManagers.update",
    "compute.instanceGroupManagers.delete",
    "compute.instanceGroupManagers.getIamPolicy",
    "compute.instanceGroupManagers.setIamPolicy",
    "compute.instanceGroups.get",
    "compute.instanceGroups.list",
    "compute.instanceGroups.create",
    "compute.instanceGroups.update",
    "compute.instanceGroups.delete",
    "compute.instanceGroups.getIamPolicy",
    "compute.instanceGroups.setIamPolicy",
    "compute.subnetworks.get",
    "compute.subnetworks.list",
    "compute.subnetworks.create",
    "compute.subnetworks.update",
    "compute.subnetworks.delete",
    "compute.subnetworks.getIamPolicy",
    "compute.subnetworks.setIamPolicy",
    "compute.addresses.get",
    "compute.addresses.list",
    "compute.addresses.create",
    "compute.addresses.update",
    "compute.addresses.delete",
    "compute.addresses.getIamPolicy",
    "compute.addresses.setIamPolicy",
    "compute.images.get",
    "compute.images.list",
    "compute.images.create",
    "compute.images.update",
    "compute.images.delete",
    "compute.images.getIamPolicy",
    "compute.images.setIamPolicy",
    "compute.snapshots.get",
    "compute.snapshots.list",
    "compute.snapshots.create",
    "compute.snapshots.update",
    "compute.snapshots.delete",
    "compute.snapshots.getIamPolicy",
    "compute.snapshots.setIamPolicy",
    "compute.firewalls.get",
    "compute.firewalls.list",
    "compute.firewalls.create",
    "compute.firewalls.update",
    "compute.firewalls.delete",
    "compute.firewalls.getIamPolicy",
    "compute.firewalls.setIamPolicy",
    "compute.networks.get",
    "compute.networks.list",
    "compute.networks.create",
    "compute.networks.update",
    "compute.networks.delete",
    "compute.networks.getIamPolicy",
    "compute.networks.setIamPolicy",
    "compute.instanceTemplates.get",
    "compute.instanceTemplates.list",
    "compute.instanceTemplates.create",
    "compute.instanceTemplates.update",
    "compute.instanceTemplates.delete",
    "compute.instanceTemplates.getIamPolicy",
    "compute.instanceTemplates.setIamPolicy",
    "compute.machineTypes.get",
    "compute.machineTypes.list",
    "compute.machineTypes.getIamPolicy",
    "compute.machineTypes.setIamPolicy",
    "compute.zoneOperations.get",
    "compute.zoneOperations.list",
    "compute.zoneOperations.delete",
    "compute.zoneOperations.getIamPolicy",
    "compute.zoneOperations.setIamPolicy",
    "compute.regionOperations.get",
    "compute.regionOperations.list",
    "compute.regionOperations.delete",
    "compute.regionOperations.getIamPolicy",
    "compute.regionOperations.setIamPolicy",
    "compute.globalOperations.get",
    "compute.globalOperations.list",
    "compute.globalOperations.delete",
    "compute.globalOperations.getIamPolicy",
    "compute.globalOperations.setIamPolicy",
    "compute.zones.get",
    "compute.zones.list",
    "compute.regions.get",
    "compute.regions.list",
    "compute.projects.get",
    "compute.projects.setCommonInstanceMetadata",
    "iam.serviceAccounts.get",
    "iam.serviceAccounts.list",
    "iam.serviceAccounts.create",
    "iam.serviceAccounts.update",
    "iam.serviceAccounts.delete",
    "iam.serviceAccounts.getIamPolicy",
    "iam.serviceAccounts.setIamPolicy",
    "iam.serviceAccounts.getAccessToken",
    "iam.serviceAccounts.getOpenIdToken",
    "iam.serviceAccounts.signBlob",
    "iam.serviceAccounts.signJwt",
    "iam.serviceAccountKeys.get",
    "iam.serviceAccountKeys.list",
    "iam.serviceAccountKeys.create",
    "iam.serviceAccountKeys.delete",
];
