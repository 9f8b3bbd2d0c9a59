//! Which service and region a host belongs to, and whether the agent's scope and the provider's lists agree.
//!
//! Refuses a scope that differs from the host, and services or regions that the provider does not list. Invariant: hosts
//! are read, never made: no region or service becomes part of a name that is dialled.

use control::aws::{Endpoint, Region, endpoint, is_global, is_second_home, is_service};

use super::canonical::PathRules;
use super::scope::{AgentScope, Algorithm};

/// What a provider allows; an empty list allows all that the host names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Signing names of services.
    pub services: Vec<Box<str>>,
    /// Regions; services that have none are not bound by it.
    pub regions: Vec<Box<str>>,
}

/// What to sign for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The signing name.
    pub service: Box<str>,
    /// The region, or SigV4A's set of them.
    pub region: Box<str>,
    /// How to sign.
    pub algorithm: Algorithm,
}

impl Place {
    /// Whether the service has S3's rules: paths encoded once, `x-amz-content-sha256`.
    pub fn is_s3(&self) -> bool {
        is_s3(&self.service)
    }

    /// How its paths become canonical.
    pub fn path_rules(&self) -> PathRules {
        if self.is_s3() { PathRules::S3 } else { PathRules::OTHERS }
    }
}

/// Whether a signing name is one of S3's.
pub fn is_s3(service: &str) -> bool {
    matches!(service, "s3" | "s3express" | "s3-object-lambda" | "s3-outposts")
}

/// Why a request cannot be signed for its host. Names what does not agree, nothing of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostFault {
    /// The scope's service is not the host's.
    #[error("the agent signed for another service than the host's")]
    Service,
    /// The scope's region is not the host's.
    #[error("the agent signed for another region than the host's")]
    Region,
    /// The agent signed for one region where the host needs SigV4A.
    #[error("this host takes requests for several regions: sign with SigV4A")]
    Algorithm,
    /// `config.services` does not list it.
    #[error("the provider's config.services does not list this service")]
    ServiceNotListed,
    /// `config.region` does not list it.
    #[error("the provider's config.region is another region")]
    RegionNotListed,
    /// Neither host, nor scope, nor provider says which service it is.
    #[error("neither the host nor the agent's signature tells the AWS service")]
    NoService,
    /// Neither host, nor scope, nor provider says which region it is.
    #[error("neither the host, nor the agent's signature, nor config.region tells the region")]
    NoRegion,
}

/// The place that a request to this host is signed for.
pub fn place(host: &str, scope: Option<&AgentScope<'_>>, allowed: &Allowed) -> Result<Place, HostFault> {
    let place = match endpoint(host) {
        Some(endpoint) => of_aws(&endpoint, scope, allowed)?,
        None => elsewhere(scope, allowed)?,
    };
    let is_listed = lists(&allowed.services, &place.service)
        || tenants(host).is_some_and(|label| names(&allowed.services, label));
    if !is_listed {
        return Err(HostFault::ServiceNotListed);
    }
    if is_service(&place.service) { Ok(place) } else { Err(HostFault::NoService) }
}

fn of_aws(
    endpoint: &Endpoint<'_>,
    scope: Option<&AgentScope<'_>>,
    allowed: &Allowed,
) -> Result<Place, HostFault> {
    let service = match scope {
        Some(scope) if endpoint.services.has(scope.service) => scope.service,
        Some(_) => return Err(HostFault::Service),
        None => endpoint.services.first().ok_or(HostFault::NoService)?,
    };
    let agents = scope.and_then(|scope| scope.region);
    let algorithm = scope.map_or(Algorithm::Hmac, |scope| scope.algorithm);
    let same = |region: &str| agents.is_none_or(|agents| agents == region);
    let listed = |region: &str| {
        if lists(&allowed.regions, region) { Ok(Box::from(region)) } else { Err(HostFault::RegionNotListed) }
    };
    let (region, algorithm) = match endpoint.region {
        Region::Fixed(home)
            if is_global(service) && agents.is_some_and(|agents| is_second_home(home, agents)) =>
        {
            (Box::from(agents.unwrap_or(home)), algorithm)
        }
        Region::Named(region) | Region::Fixed(region) if !same(region) => return Err(HostFault::Region),
        Region::Named(region) => (listed(region)?, algorithm),
        Region::Fixed(region) if is_global(service) => (Box::from(region), algorithm),
        Region::Fixed(region) => (listed(region)?, algorithm),
        Region::Any(usual) => {
            let own = allowed.regions.first().map_or(usual, |region| region);
            (listed(agents.unwrap_or(own))?, algorithm)
        }
        Region::All if scope.is_some_and(|scope| scope.algorithm == Algorithm::Hmac) => {
            return Err(HostFault::Algorithm);
        }
        Region::All if allowed.regions.is_empty() => ("*".into(), Algorithm::Ecdsa),
        Region::All => (allowed.regions.join(",").into(), Algorithm::Ecdsa),
    };
    Ok(Place { service: service.into(), region, algorithm })
}

/// A host that is not AWS' own (MinIO, R2, Ceph) is S3, as policy reads it, and another service only where the provider lists
/// that: the agent's scope alone says so, and policy would read a request for S3 as that service's.
fn elsewhere(scope: Option<&AgentScope<'_>>, allowed: &Allowed) -> Result<Place, HostFault> {
    let service = match scope {
        Some(scope) if is_s3(scope.service) || names(&allowed.services, scope.service) => scope.service,
        Some(_) => return Err(HostFault::ServiceNotListed),
        None if lists(&allowed.services, "s3") => "s3",
        None => return Err(HostFault::NoService),
    };
    let own = allowed.regions.first().map(|region| &**region);
    let region = scope.and_then(|scope| scope.region).or(own).ok_or(HostFault::NoRegion)?;
    if !lists(&allowed.regions, region) {
        return Err(HostFault::RegionNotListed);
    }
    let algorithm = scope.map_or(Algorithm::Hmac, |scope| scope.algorithm);
    Ok(Place { service: service.into(), region: region.into(), algorithm })
}

/// Endpoints behind which code of anybody's runs, or reads the headers: functions, APIs, resolvers, services of a lattice.
const TENANTS: &[&str] =
    &["lambda-url", "execute-api", "appsync-api", "appsync-realtime-api", "vpc-lattice-svcs"];

/// The label of an endpoint behind which code of anybody's may run.
pub fn tenants(host: &str) -> Option<&str> {
    let label = endpoint(host)?.label;
    (TENANTS.contains(&label) || host.ends_with(".on.aws")).then_some(label)
}

impl Allowed {
    /// Whether a session token may go to this host: it would open, with the rest of the credential, more than the one
    /// request, and so goes to code of anybody's only where the provider lists that by its label.
    pub fn trusts_with_token(&self, host: &str) -> bool {
        tenants(host).is_none_or(|label| names(&self.services, label))
    }
}

fn lists(list: &[Box<str>], name: &str) -> bool {
    list.is_empty() || names(list, name)
}

fn names(list: &[Box<str>], name: &str) -> bool {
    list.iter().any(|listed| **listed == *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(services: &[&str], regions: &[&str]) -> Allowed {
        let list = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect();
        Allowed { services: list(services), regions: list(regions) }
    }

    fn scope<'a>(region: &'a str, service: &'a str) -> AgentScope<'a> {
        AgentScope { algorithm: Algorithm::Hmac, key_id: "AKID", region: Some(region), service }
    }

    fn found(host: &str) -> String {
        match place(host, None, &Allowed::default()) {
            Ok(place) => format!("{} {}", place.service, place.region),
            Err(fault) => format!("{fault:?}"),
        }
    }

    #[test]
    fn refuses_a_scope_that_differs_from_the_host() {
        let all = Allowed::default();
        let host = "s3.eu-west-1.amazonaws.com";
        assert_eq!(place(host, Some(&scope("us-east-1", "s3")), &all), Err(HostFault::Region));
        assert_eq!(place(host, Some(&scope("eu-west-1", "sqs")), &all), Err(HostFault::Service));
        assert_eq!(
            place("iam.amazonaws.com", Some(&scope("eu-west-1", "iam")), &all),
            Err(HostFault::Region)
        );
        assert_eq!(
            place("x.accesspoint.s3-global.amazonaws.com", Some(&scope("us-east-1", "s3")), &all),
            Err(HostFault::Algorithm)
        );
        assert!(place(host, Some(&scope("eu-west-1", "s3")), &all).is_ok());
    }

    #[test]
    fn refuses_services_and_regions_that_the_provider_does_not_list() {
        let lists = allowed(&["s3", "sts"], &["eu-west-1"]);
        let place =
            |host: &str, scope: Option<&AgentScope<'_>>| place(host, scope, &lists).map(|place| place.region);
        assert_eq!(place("sqs.eu-west-1.amazonaws.com", None), Err(HostFault::ServiceNotListed));
        assert_eq!(place("s3.us-east-1.amazonaws.com", None), Err(HostFault::RegionNotListed));
        assert_eq!(
            place("b.s3.amazonaws.com", Some(&scope("us-east-1", "s3"))),
            Err(HostFault::RegionNotListed)
        );
        assert_eq!(place("s3.minio.test", Some(&scope("us-east-1", "s3"))), Err(HostFault::RegionNotListed));
        assert_eq!(
            place("s3.minio.test", Some(&scope("eu-west-1", "sqs"))),
            Err(HostFault::ServiceNotListed)
        );
        assert_eq!(place("s3.eu-west-1.amazonaws.com", None), Ok("eu-west-1".into()));
        assert_eq!(place("b.s3.amazonaws.com", None), Ok("eu-west-1".into()));
        // A host without a region is bound as well, unless its service has one endpoint for all.
        let queues = allowed(&["sqs"], &["eu-west-1"]);
        for host in ["sqs.amazonaws.com", "queue.amazonaws.com"] {
            assert_eq!(super::place(host, None, &queues), Err(HostFault::RegionNotListed), "{host}");
        }
        assert_eq!(place("sts.amazonaws.com", None), Ok("us-east-1".into()));
        assert_eq!(place("x.accesspoint.s3-global.amazonaws.com", None), Ok("eu-west-1".into()));
    }

    #[test]
    fn refuses_a_foreign_host_without_region_and_a_host_that_is_no_service() {
        assert_eq!(found("minio.test"), "NoRegion");
        assert_eq!(found("a_b.amazonaws.com"), "NoService");
        assert_eq!(place("minio.test", None, &allowed(&["sqs"], &["auto"])), Err(HostFault::NoService));
    }

    #[test]
    fn reads_service_and_region_of_every_kind_of_endpoint() {
        for (host, expected) in [
            ("s3.eu-west-1.amazonaws.com", "s3 eu-west-1"),
            ("bucket.s3.eu-west-1.amazonaws.com", "s3 eu-west-1"),
            ("a.dotted.bucket.s3.eu-west-1.amazonaws.com", "s3 eu-west-1"),
            ("us-east-2.s3.amazonaws.com", "s3 us-east-1"),
            ("eu-west-1.s3.us-east-1.amazonaws.com", "s3 us-east-1"),
            ("s3.amazonaws.com", "s3 us-east-1"),
            ("s3-eu-west-1.amazonaws.com", "s3 eu-west-1"),
            ("s3-external-1.amazonaws.com", "s3 us-east-1"),
            ("bucket.s3.dualstack.eu-west-1.amazonaws.com", "s3 eu-west-1"),
            ("bucket.s3-fips.dualstack.us-gov-west-1.amazonaws.com", "s3 us-gov-west-1"),
            ("ap-1.s3-accesspoint.eu-west-1.amazonaws.com", "s3 eu-west-1"),
            ("ap-1.s3-object-lambda.eu-west-1.amazonaws.com", "s3-object-lambda eu-west-1"),
            ("ap-1.op-2.s3-outposts.eu-west-1.amazonaws.com", "s3-outposts eu-west-1"),
            ("123456789012.s3-control.eu-west-1.amazonaws.com", "s3 eu-west-1"),
            ("b--usw2-az1--x-s3.s3express-usw2-az1.us-west-2.amazonaws.com", "s3express us-west-2"),
            ("bucket.vpce-1a.s3.eu-west-1.vpce.amazonaws.com", "s3 eu-west-1"),
            ("mfzwi23gnjvgw.accesspoint.s3-global.amazonaws.com", "s3 *"),
            ("s3.cn-north-1.amazonaws.com.cn", "s3 cn-north-1"),
            ("dynamodb.us-west-2.amazonaws.com", "dynamodb us-west-2"),
            ("dynamodb-fips.us-west-2.amazonaws.com", "dynamodb us-west-2"),
            ("123456789012.ddb.us-west-2.amazonaws.com", "dynamodb us-west-2"),
            ("streams.dynamodb.us-west-2.amazonaws.com", "dynamodb us-west-2"),
            ("sqs.eu-central-1.amazonaws.com", "sqs eu-central-1"),
            ("eu-central-1.queue.amazonaws.com", "sqs eu-central-1"),
            ("queue.amazonaws.com", "sqs us-east-1"),
            ("sts.amazonaws.com", "sts us-east-1"),
            ("sts.eu-west-1.amazonaws.com", "sts eu-west-1"),
            ("iam.amazonaws.com", "iam us-east-1"),
            ("iam.us-gov.amazonaws.com", "iam us-gov-west-1"),
            ("iam.cn-north-1.amazonaws.com.cn", "iam cn-north-1"),
            ("global.health.amazonaws.com", "health us-east-1"),
            ("lambda.eu-west-1.api.aws", "lambda eu-west-1"),
            ("abc123.lambda-url.eu-west-1.on.aws", "lambda eu-west-1"),
            ("abc123.execute-api.eu-west-1.amazonaws.com", "execute-api eu-west-1"),
            ("bedrock-runtime.us-east-1.amazonaws.com", "bedrock us-east-1"),
            ("api.ecr.us-east-1.amazonaws.com", "ecr us-east-1"),
            ("runtime.sagemaker.us-east-1.amazonaws.com", "sagemaker us-east-1"),
            ("email.us-east-1.amazonaws.com", "ses us-east-1"),
            ("search-logs-x1.eu-west-1.es.amazonaws.com", "es eu-west-1"),
            ("x1.eu-west-1.aoss.amazonaws.com", "aoss eu-west-1"),
            ("sqs.eusc-de-east-1.amazonaws.eu", "sqs eusc-de-east-1"),
            ("maps.geo.eu-west-1.amazonaws.com", "geo-maps eu-west-1"),
            ("places.geo.eu-west-1.api.aws", "geo-places eu-west-1"),
            ("routes.geo.us-gov-west-1.us-gov.amazonaws.com", "geo-routes us-gov-west-1"),
            ("api.tunneling.iot.eu-west-1.amazonaws.com", "IoTSecuredTunneling eu-west-1"),
            ("api.iot-tunneling.eu-west-1.api.aws", "IoTSecuredTunneling eu-west-1"),
            ("importexport.amazonaws.com", "IngestionService us-east-1"),
            ("streams-dynamodb.eu-west-1.api.aws", "dynamodb eu-west-1"),
            ("efs.eu-west-1.api.aws", "elasticfilesystem eu-west-1"),
            ("aos.eu-west-1.api.aws", "es eu-west-1"),
            ("kafka-api.eu-west-1.api.aws", "kafka eu-west-1"),
            ("timestream-query.eu-west-1.api.aws", "timestream eu-west-1"),
            ("timestream-ingest.eu-west-1.api.aws", "timestream eu-west-1"),
            ("catalog-marketplace.us-east-1.api.aws", "aws-marketplace us-east-1"),
            ("entitlement-marketplace.us-east-1.api.aws", "aws-marketplace us-east-1"),
            ("metering-marketplace.us-east-1.api.aws", "aws-marketplace us-east-1"),
            ("arc-recovery-control-config.us-west-2.api.aws", "route53-recovery-control-config us-west-2"),
            ("acme.s3-accelerate.amazonaws.com", "s3 us-east-1"),
            ("acme.s3-accelerate.dualstack.amazonaws.com", "s3 us-east-1"),
            ("transcribestreaming.eu-west-1.amazonaws.com", "transcribe eu-west-1"),
            ("x.appsync-api.eu-west-1.amazonaws.com", "appsync eu-west-1"),
            ("db.cluster-x1.eu-west-1.neptune.amazonaws.com", "neptune-db eu-west-1"),
            ("sync-states.eu-west-1.amazonaws.com", "states eu-west-1"),
            ("data-servicediscovery.eu-west-1.amazonaws.com", "servicediscovery eu-west-1"),
            ("streaming-logs.eu-west-1.amazonaws.com", "logs eu-west-1"),
            ("workflows-omics.eu-west-1.amazonaws.com", "omics eu-west-1"),
            ("query-lakeformation.eu-west-1.amazonaws.com", "lakeformation eu-west-1"),
            ("runtime-medical-imaging.eu-west-1.api.aws", "medical-imaging eu-west-1"),
            ("x-1.eu-west-1.osis.amazonaws.com", "osis eu-west-1"),
            ("doc-x-1.eu-west-1.cloudsearch.amazonaws.com", "cloudsearch eu-west-1"),
        ] {
            assert_eq!(found(host), expected, "{host}");
        }
    }

    #[test]
    fn a_name_that_only_looks_like_aws_is_foreign() {
        for host in
            ["s3.eu-west-1.amazonaws.com.evil.test", "evilamazonaws.com", "amazonaws.com", "s3.amazonaws.co"]
        {
            assert_eq!(found(host), "NoRegion", "{host}");
        }
    }

    #[test]
    fn a_foreign_host_signs_for_the_providers_region_and_the_agents_service() {
        let lists = allowed(&[], &["auto"]);
        let found = place("account.r2.cloudflarestorage.com", Some(&scope("auto", "s3")), &lists).unwrap();
        assert_eq!((&*found.service, &*found.region, found.is_s3()), ("s3", "auto", true));
        let found = place("account.r2.cloudflarestorage.com", None, &lists).unwrap();
        assert_eq!((&*found.service, &*found.region), ("s3", "auto"));
    }

    #[test]
    fn refuses_a_foreign_service_that_is_not_listed() {
        let host = "local.test";
        for service in ["sqs", "sts", "iam", "s3tables"] {
            let scope = scope("auto", service);
            assert_eq!(place(host, Some(&scope), &Allowed::default()), Err(HostFault::ServiceNotListed));
            assert!(place(host, Some(&scope), &allowed(&[service], &[])).is_ok(), "{service}");
        }
        assert!(place(host, Some(&scope("auto", "s3")), &Allowed::default()).is_ok());
    }

    #[test]
    fn a_service_without_regions_signs_for_both_homes_of_its_partition() {
        let all = Allowed::default();
        let signed = |host: &str, region: &str, service: &str| {
            place(host, Some(&scope(region, service)), &all).map(|place| place.region)
        };
        for (host, region, service) in [
            ("budgets.api.aws", "us-gov-west-1", "budgets"),
            ("cloudfront.api.aws", "us-gov-west-1", "cloudfront"),
            ("cloudfront.global.api.aws", "us-east-1", "cloudfront"),
            ("iam.global.api.aws", "us-east-1", "iam"),
            ("iam-fips.amazonaws.com.cn", "cn-north-1", "iam"),
        ] {
            assert_eq!(signed(host, region, service), Ok(region.into()), "{host}");
        }
        assert_eq!(signed("iam.amazonaws.com", "eu-west-1", "iam"), Err(HostFault::Region));
        assert_eq!(signed("sqs.amazonaws.com", "us-gov-west-1", "sqs"), Err(HostFault::Region));
    }

    #[test]
    fn a_service_with_several_signing_names_takes_each_of_them() {
        let all = Allowed::default();
        let host = "abc-ats.iot.eu-west-1.amazonaws.com";
        assert_eq!(&*place(host, Some(&scope("eu-west-1", "iotdata")), &all).unwrap().service, "iotdata");
        assert_eq!(place(host, Some(&scope("eu-west-1", "s3")), &all), Err(HostFault::Service));
    }
}
