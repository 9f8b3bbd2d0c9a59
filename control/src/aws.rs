//! AWS' endpoints: which service and region a host belongs to.
//!
//! For: the resolver of type `aws` and the signer. Hosts are read, never made: no region or service becomes part of a name
//! that is dialled. A name that only looks like one of AWS' is none.

pub mod scope;
pub mod role;
pub mod sign;
pub mod sts_answer;

/// How long a region's or a service's name may be.
const LONGEST_LABEL: usize = 40;

/// The names below which AWS' endpoints lie, each with the region of its services without one. Longer ones first.
const SUFFIXES: &[(&str, &str)] = &[
    ("api.amazonwebservices.com.cn", "cn-northwest-1"),
    ("api.amazonwebservices.eu", "eusc-de-east-1"),
    ("amazonaws.com.cn", "cn-northwest-1"),
    ("amazonaws.com", "us-east-1"),
    ("amazonaws.eu", "eusc-de-east-1"),
    ("api.aws", "us-east-1"),
    ("on.aws", "us-east-1"),
];

/// Services that sign by another name than their endpoint's, from botocore's service models (one or two labels, without
/// `-fips`), and S3's families.
const SIGNING_NAMES: &[(&str, &[&str])] = &[
    ("a2i-runtime.sagemaker", &["sagemaker"]),
    ("account-access-runtime", &["account-access"]),
    ("admin.wickr", &["wickr"]),
    ("agent-registry-control", &["agent-registry"]),
    ("agreement-marketplace", &["aws-marketplace"]),
    ("analytics-omics", &["omics"]),
    ("aos", &["es"]),
    ("appconfigdata", &["appconfig"]),
    ("appstream2", &["appstream"]),
    ("appsync-api", &["appsync"]),
    ("appsync-realtime-api", &["appsync"]),
    ("arc-recovery-control-config", &["route53-recovery-control-config"]),
    ("bedrock-agent", &["bedrock"]),
    ("bedrock-agent-runtime", &["bedrock"]),
    ("bedrock-agentcore-control", &["bedrock-agentcore"]),
    ("bedrock-data-automation", &["bedrock"]),
    ("bedrock-data-automation-runtime", &["bedrock"]),
    ("bedrock-runtime", &["bedrock"]),
    ("cassandra-streams", &["cassandra"]),
    ("catalog-marketplace", &["aws-marketplace"]),
    ("catalog.marketplace", &["aws-marketplace"]),
    ("cloudhsmv2", &["cloudhsm"]),
    ("cloudsearchdomain", &["cloudsearch"]),
    ("cloudwatch-omni", &["cloudwatch"]),
    ("contact-lens", &["connect"]),
    ("control-kinesis", &["kinesis"]),
    ("control-storage-omics", &["omics"]),
    ("data-ats.iot", &["iotdata"]),
    ("data-kinesis", &["kinesis"]),
    ("data-lakeformation", &["lakeformation"]),
    ("data-servicediscovery", &["servicediscovery"]),
    ("data-signer", &["signer"]),
    ("data.jobs.iot", &["iot-jobs-data"]),
    ("ddb", &["dynamodb"]),
    ("deployment-marketplace", &["aws-marketplace"]),
    ("discovery-marketplace", &["aws-marketplace"]),
    ("efs", &["elasticfilesystem"]),
    ("email", &["ses"]),
    ("entitlement-marketplace", &["aws-marketplace"]),
    ("entitlement.marketplace", &["aws-marketplace"]),
    ("eventsv2", &["events"]),
    ("forecastquery", &["forecast"]),
    ("git-codecommit", &["codecommit"]),
    ("iam-toolbox", &["iam"]),
    ("identity-chime", &["chime"]),
    ("importexport", &["IngestionService", "importexport"]),
    ("iot", &["iot", "iotdata", "iotdevicegateway", "iot-jobs-data"]),
    ("iot-tunneling", &["IoTSecuredTunneling"]),
    ("ivsrealtime", &["ivs"]),
    ("kafka-api", &["kafka"]),
    ("lambda-url", &["lambda"]),
    ("mail-manager", &["ses"]),
    ("maps.geo", &["geo-maps", "geo"]),
    ("media-pipelines-chime", &["chime"]),
    ("meetings-chime", &["chime"]),
    ("memory-db", &["memorydb"]),
    ("messaging-chime", &["chime"]),
    ("metering-marketplace", &["aws-marketplace"]),
    ("metering.marketplace", &["aws-marketplace"]),
    ("migrationhub-config", &["mgh"]),
    ("models-v2-lex", &["lex"]),
    ("neptune", &["neptune-db"]),
    ("oidc", &["sso-oauth"]),
    ("participant.connect", &["execute-api"]),
    ("partnercentral-prm", &["partnercentral"]),
    ("personalize-events", &["personalize"]),
    ("personalize-runtime", &["personalize"]),
    ("pinpoint", &["mobiletargeting"]),
    ("places.geo", &["geo-places", "geo"]),
    ("portal.sso", &["awsssoportal"]),
    ("query-lakeformation", &["lakeformation"]),
    ("queue", &["sqs"]),
    ("reporting-marketplace", &["aws-marketplace"]),
    ("routes.geo", &["geo-routes", "geo"]),
    ("runtime-medical-imaging", &["medical-imaging"]),
    ("runtime-v2-lex", &["lex"]),
    ("s3-accelerate", &["s3"]),
    ("s3-accesspoint", &["s3"]),
    ("s3-control", &["s3"]),
    ("s3-global", &["s3"]),
    ("servicecatalog-appregistry", &["servicecatalog"]),
    ("sms-voice.pinpoint", &["sms-voice"]),
    ("storage-omics", &["omics"]),
    ("stream-logs", &["logs"]),
    ("streaming-logs", &["logs"]),
    ("streams-ddb", &["dynamodb"]),
    ("streams-dynamodb", &["dynamodb"]),
    ("sync-states", &["states"]),
    ("tags-omics", &["omics"]),
    ("timestream-ingest", &["timestream"]),
    ("timestream-query", &["timestream"]),
    ("transcribestreaming", &["transcribe"]),
    ("tunneling.iot", &["IoTSecuredTunneling"]),
    ("voice-chime", &["chime"]),
    ("workflows-omics", &["omics"]),
];

/// Endpoints in which the region stands before the service (`….eu-west-1.es.amazonaws.com`).
const REGION_FIRST: &[&str] = &["queue", "es", "aoss", "osis", "cloudsearch", "neptune", "neptune-graph"];

/// Services that have one endpoint for all regions, by their signing names.
const GLOBAL: &[&str] = &[
    "iam",
    "sts",
    "route53",
    "cloudfront",
    "organizations",
    "health",
    "support",
    "budgets",
    "ce",
    "waf",
    "shield",
    "savingsplans",
    "importexport",
    "IngestionService",
];

/// The regions of a partition in which services without regions may sign as well: GovCloud's share endpoints with the
/// commercial ones, China's IAM is not where the rest is.
const SECOND_HOMES: &[(&str, &str)] = &[("us-east-1", "us-gov-west-1"), ("cn-northwest-1", "cn-north-1")];

/// Whether a service without regions, whose endpoint signs for `home`, signs for this region too.
pub fn is_second_home(home: &str, region: &str) -> bool {
    SECOND_HOMES.contains(&(home, region))
}

/// Whether a service has one endpoint for all regions, so that a list of regions does not bind it. A host without a region
/// says nothing of that: `sqs.amazonaws.com` is one of us-east-1.
pub fn is_global(service: &str) -> bool {
    GLOBAL.contains(&service)
}

/// Services of the query protocol, and EC2 with its own form of it, by their signing names (botocore's models). All others
/// pass `Action` over.
const QUERY_PROTOCOL: &[&str] = &[
    "autoscaling",
    "cloudformation",
    "cloudsearch",
    "ec2",
    "elasticache",
    "elasticbeanstalk",
    "elasticloadbalancing",
    "iam",
    "importexport",
    "IngestionService",
    "monitoring",
    "rds",
    "redshift",
    "sdb",
    "ses",
    "sns",
    "sqs",
    "sts",
];

/// Whether a service, by its signing name, may read its operation from a form.
pub fn speaks_query(service: &str) -> bool {
    QUERY_PROTOCOL.contains(&service)
}

/// What a host says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint<'h> {
    /// The names that requests to it are signed with; the usual one first.
    pub services: Names<'h>,
    /// Its region.
    pub region: Region<'h>,
    /// What stands before the service's own labels: a bucket, an access point, an account. Empty: nothing.
    pub before: &'h str,
    /// The label that names the service, without `fips`.
    pub label: &'h str,
    /// It is an endpoint of a VPC (`vpce-….SERVICE.REGION.vpce.amazonaws.com`); `before` is without the endpoint's own label.
    pub is_private: bool,
}

/// A service's signing names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names<'h> {
    /// From the table.
    Table(&'static [&'static str]),
    /// The endpoint's own label.
    One(&'h str),
}

/// What a host says of its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region<'h> {
    /// This one.
    Named(&'h str),
    /// The service has no regions and signs for this one.
    Fixed(&'static str),
    /// The host serves every region (S3).
    Any(&'static str),
    /// Requests go to several regions at once: SigV4A.
    All,
}

impl<'h> Names<'h> {
    /// Whether this is one of them.
    pub fn has(&self, service: &str) -> bool {
        match self {
            Self::Table(names) => names.contains(&service),
            Self::One(name) => *name == service,
        }
    }

    /// The usual one.
    pub fn first(&self) -> Option<&'h str> {
        match self {
            Self::Table(names) => names.first().copied(),
            Self::One(name) => Some(name),
        }
    }
}

fn below_aws(host: &str) -> Option<(&str, &'static str)> {
    let below = |suffix: &str| host.strip_suffix(suffix)?.strip_suffix('.');
    SUFFIXES.iter().find_map(|(suffix, region)| Some((below(suffix)?, *region)))
}

/// The endpoint of a host; `None` where it is none of AWS'.
pub fn endpoint(host: &str) -> Option<Endpoint<'_>> {
    let (below, usual) = below_aws(host)?;
    let mut labels: Vec<&str> = below.split('.').collect();
    let is_private = pop_if(&mut labels, |label| label == "vpce");
    // `acme.s3-accelerate.dualstack.amazonaws.com`; elsewhere it stands before the region.
    pop_if(&mut labels, |label| label == "dualstack");
    let last = labels.last().copied().unwrap_or_default();
    let before = labels.iter().rev().nth(1).copied().unwrap_or_default();
    let legacy = last.strip_prefix("s3-").filter(|region| is_region(region));
    let is_region_first = REGION_FIRST.contains(&last) && is_region(before);
    let region = if is_region(last) {
        labels.pop();
        pop_if(&mut labels, |label| label == "dualstack");
        Region::Named(last)
    } else if let Some(region) = legacy {
        Region::Named(region)
    } else if last == "s3-external-1" {
        Region::Named("us-east-1")
    } else if is_region_first {
        Region::Named(before)
    } else if last == "us-gov" {
        labels.pop();
        // `routes.geo.us-gov-west-1.us-gov.amazonaws.com`
        if pop_if(&mut labels, is_region) { Region::Named(before) } else { Region::Fixed("us-gov-west-1") }
    } else if matches!((before, last), ("accesspoint", "s3-global") | ("endpoint", "events")) {
        Region::All
    } else if last == "global" {
        labels.pop();
        Region::Fixed(usual)
    } else if matches!(last, "s3" | "s3-accelerate") {
        Region::Any(usual)
    } else {
        Region::Fixed(usual)
    };
    let (services, own) = services(&labels);
    let mut before = labels.len().saturating_sub(own + usize::from(is_region_first));
    let is_endpoints = |index: usize| labels.get(index).is_some_and(|label| label.starts_with("vpce-"));
    if is_private && before.checked_sub(1).is_some_and(is_endpoints) {
        before -= 1;
    }
    let width: usize = labels.iter().take(before).map(|label| label.len() + 1).sum();
    let before = below.get(..width.saturating_sub(1)).unwrap_or_default();
    Some(Endpoint {
        services,
        region,
        before,
        label: without_fips(labels.last().copied().unwrap_or_default()),
        is_private,
    })
}

fn pop_if(labels: &mut Vec<&str>, is: impl Fn(&str) -> bool) -> bool {
    let pops = labels.len() > 1 && labels.last().is_some_and(|label| is(label));
    if pops {
        labels.pop();
    }
    pops
}

fn without_fips(label: &str) -> &str {
    label.strip_suffix("-fips").or(label.strip_prefix("fips-")).unwrap_or(label)
}

/// The signing names of an endpoint, by its last two labels or its last one, and how many that takes.
fn services<'h>(labels: &[&'h str]) -> (Names<'h>, usize) {
    let last = without_fips(labels.last().copied().unwrap_or_default());
    if last.starts_with("s3express-") {
        return (Names::One("s3express"), 1);
    }
    if last.strip_prefix("s3-").is_some_and(is_region) || last == "s3-external-1" {
        return (Names::One("s3"), 1);
    }
    let named = |name: &str| SIGNING_NAMES.iter().find(|(known, _)| *known == name).map(|(_, names)| *names);
    let two = labels.iter().rev().nth(1).map(|before| [before, ".", last].concat());
    match two.and_then(|two| named(&two)) {
        Some(names) => (Names::Table(names), 2),
        None => (named(last).map_or(Names::One(last), Names::Table), 1),
    }
}

/// Whether a text can name a service: a region's letters, and capitals (`IoTSecuredTunneling`).
pub fn is_service(text: &str) -> bool {
    is_label(&text.to_ascii_lowercase())
}

/// Whether a text can name one of both. A region in capitals would be taken for a service, and match nothing.
pub fn is_region_or_service(text: &str) -> bool {
    is_label(text) || is_service(text) && !is_region(&text.to_ascii_lowercase())
}

/// Whether a text can name a region: lower-case letters, digits and inner hyphens, at most 40.
pub fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST_LABEL
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether a label has a region's form: `eu-west-1`, `us-gov-east-1`.
fn is_region(label: &str) -> bool {
    let mut parts = label.split('-');
    let letters = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    let area = parts.next().is_some_and(|part| letters(part) && (2..=4).contains(&part.len()));
    let number = parts
        .next_back()
        .is_some_and(|part| (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()));
    let middle: Vec<&str> = parts.collect();
    area && number && (1..=2).contains(&middle.len()) && middle.into_iter().all(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_only_looks_like_aws_is_none() {
        for host in
            ["s3.eu-west-1.amazonaws.com.evil.test", "evilamazonaws.com", "amazonaws.com", "s3.amazonaws.co"]
        {
            assert_eq!(endpoint(host), None, "{host}");
        }
    }

    #[test]
    fn a_bucket_that_is_named_like_a_region_is_no_region() {
        let endpoint = endpoint("us-east-2.s3.amazonaws.com").unwrap();
        assert_eq!((endpoint.services, endpoint.region), (Names::One("s3"), Region::Any("us-east-1")));
    }

    #[test]
    fn what_stands_before_a_service_holds_neither_its_region_nor_the_label_of_a_vpc_endpoint() {
        for (host, before) in [
            ("eu-west-1.es.amazonaws.com", ""),
            ("es.eu-west-1.amazonaws.com", ""),
            ("search-logs-x1.eu-west-1.es.amazonaws.com", "search-logs-x1"),
            ("eu-central-1.queue.amazonaws.com", ""),
            ("vpce-1a.sqs.eu-west-1.vpce.amazonaws.com", ""),
            ("bucket.vpce-1a.s3.eu-west-1.vpce.amazonaws.com", "bucket"),
            ("acme.bucket.vpce-1a.s3.eu-west-1.vpce.amazonaws.com", "acme.bucket"),
            ("acme.vpce-1a.s3.eu-west-1.amazonaws.com", "acme.vpce-1a"),
        ] {
            assert_eq!(endpoint(host).unwrap().before, before, "{host}");
        }
    }
}
