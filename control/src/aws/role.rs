//! A role to assume (`config.assumeRole`): what may stand there, and the STS endpoint that is asked for it.
//!
//! Refuses what is no role's ARN, and regions of another partition. The endpoint is one of four names that stand here, with
//! the provider's own region in it: nothing of an agent's ever becomes part of it.

use crate::catalog::Fields;
use crate::token_url::TokenUrl;

use super::{is_label, is_region};

/// How long the role's keys may live, in seconds; AWS' own bounds.
pub const LIFE: std::ops::RangeInclusive<u32> = 900..=43_200;

/// AWS' partitions: its name in ARNs, the domain of its endpoints, the region where none is given, and what its regions begin
/// with.
const PARTITIONS: &[(&str, &str, &str, &str)] = &[
    ("aws", "amazonaws.com", "us-east-1", ""),
    ("aws-cn", "amazonaws.com.cn", "cn-north-1", "cn-"),
    ("aws-us-gov", "amazonaws.com", "us-gov-west-1", "us-gov-"),
    ("aws-eusc", "amazonaws.eu", "eusc-de-east-1", "eusc-"),
];

/// A role, and who is asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// What the role's trust policy may ask for.
    pub external_id: Option<String>,
    /// How long its keys are asked for, in seconds.
    pub seconds: u32,
    /// The region that the call is signed for.
    pub region: String,
    /// STS in that region.
    pub sts: TokenUrl,
}

/// Why a role cannot be assumed as the provider says it. Continues "`config.assumeRole` …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoleFault {
    /// Something beside the ARN, which is not there.
    #[error("needs `arn`")]
    Arn,
    /// Not a role, or not in a partition that is known.
    #[error("has an `arn` that names no role (`arn:aws:iam::123456789012:role/NAME`)")]
    Role,
    /// The region is not of the role's partition.
    #[error("names a role of another partition of AWS than the one of `config.region`")]
    Region,
    /// Not a region.
    #[error("needs one region as `config.region`, whose STS is asked")]
    NoRegion,
    /// Beyond AWS' bounds.
    #[error("has a `duration` that is not from 900 to 43200 seconds")]
    Life,
}

impl Role {
    /// The role that the fields of the scheme name, if they name one.
    pub fn of(fields: &Fields) -> Result<Option<Self>, RoleFault> {
        let text = |name| fields.text(name);
        let (external_id, seconds) = (text("assumeRole.externalId"), text("assumeRole.duration"));
        let Some(arn) = text("assumeRole.arn") else {
            return if external_id.or(seconds).is_some() { Err(RoleFault::Arn) } else { Ok(None) };
        };
        let partition = partition(arn).ok_or(RoleFault::Role)?;
        let (region, sts) = endpoint(partition, text("region"))?;
        let seconds = seconds.unwrap_or("3600").parse().ok().filter(|seconds| LIFE.contains(seconds));
        Ok(Some(Self {
            arn: arn.to_owned(),
            external_id: external_id.map(str::to_owned),
            seconds: seconds.ok_or(RoleFault::Life)?,
            region,
            sts,
        }))
    }
}

/// STS of a partition, in the region that the provider names.
fn endpoint(partition: &str, region: Option<&str>) -> Result<(String, TokenUrl), RoleFault> {
    let (_, domain, usual, begins) =
        PARTITIONS.iter().find(|(name, ..)| *name == partition).ok_or(RoleFault::Role)?;
    let region = region.unwrap_or(usual);
    if !is_label(region) || !is_region(region) {
        return Err(RoleFault::NoRegion);
    }
    let others = PARTITIONS.iter().filter(|(name, ..)| *name != partition);
    let is_foreign =
        |(_, _, _, other): &(&str, &str, &str, &str)| !other.is_empty() && region.starts_with(other);
    if !region.starts_with(begins) || others.into_iter().any(is_foreign) {
        return Err(RoleFault::Region);
    }
    let url = ["https://sts.", region, ".", domain, "/"].concat();
    Ok((region.to_owned(), TokenUrl::parse(&url).map_err(|_| RoleFault::NoRegion)?))
}

/// Whether a text is the ARN of a role, of a partition that is known.
pub fn is_role(text: &str) -> bool {
    partition(text).is_some_and(|own| PARTITIONS.iter().any(|(name, ..)| *name == own))
}

/// The partition of a role's ARN: `arn:PARTITION:iam::ACCOUNT:role/PATH/NAME`.
fn partition(arn: &str) -> Option<&str> {
    let mut parts = arn.split(':');
    let [start, partition, service, region, account, role] =
        std::array::from_fn(|_| parts.next().unwrap_or_default());
    let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    let path = role.strip_prefix("role/")?;
    let fits = path.split('/').all(|part| !part.is_empty()) && path.bytes().all(is_name_byte);
    let is_it = start == "arn" && service == "iam" && region.is_empty() && is_account && arn.len() <= 2048;
    (is_it && fits && parts.next().is_none()).then_some(partition)
}

/// `[\w+=,.@-]` and the slash of paths.
fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"_+=,.@-/".contains(&b)
}

/// Whether a text is an external id: `[\w+=,.@:/-]{2,1224}`.
pub fn is_external_id(text: &str) -> bool {
    (2..=1224).contains(&text.len()) && text.bytes().all(|b| is_name_byte(b) || b == b':')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::FieldValue;

    fn of(pairs: &[(&'static str, &str)]) -> Result<Option<Role>, RoleFault> {
        let fields = pairs.iter().map(|(name, text)| (*name, FieldValue::Text((*text).to_owned())));
        Role::of(&Fields(fields.collect()))
    }

    #[test]
    fn refuses_what_names_no_role() {
        for arn in [
            "",
            "role/x",
            "arn:aws:iam::123456789012:user/x",
            "arn:aws:iam::12345678901:role/x",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role//x",
            "arn:aws:iam::123456789012:role/x:y",
            "arn:aws:iam::123456789012:role/x y",
            "arn:aws:iam::123456789012:role/*",
            "arn:aws:iam:eu-west-1:123456789012:role/x",
            "arn:aws-iso:iam::123456789012:role/x",
            "arn:aws:sts::123456789012:assumed-role/x/y",
        ] {
            assert!(!is_role(arn), "{arn}");
            assert_eq!(of(&[("assumeRole.arn", arn)]), Err(RoleFault::Role), "{arn}");
        }
        assert_eq!(of(&[("assumeRole.externalId", "xx")]), Err(RoleFault::Arn));
        assert!(
            !is_external_id("x")
                && !is_external_id("a b")
                && !is_external_id("a\n")
                && is_external_id("a:/9")
        );
    }

    #[test]
    fn refuses_a_region_that_is_none_or_of_another_partition_and_lives_beyond_bounds() {
        let own = ("assumeRole.arn", "arn:aws:iam::123456789012:role/x");
        let gov = ("assumeRole.arn", "arn:aws-us-gov:iam::123456789012:role/x");
        for (role, region, fault) in [
            (own, "cn-north-1", RoleFault::Region),
            (own, "us-gov-west-1", RoleFault::Region),
            (gov, "us-east-1", RoleFault::Region),
            (own, "eu-west-1,eu-west-2", RoleFault::NoRegion),
            (own, "evil", RoleFault::NoRegion),
        ] {
            assert_eq!(of(&[role, ("region", region)]), Err(fault), "{region}");
        }
        for seconds in ["899", "43201", "0", "x"] {
            assert_eq!(of(&[own, ("assumeRole.duration", seconds)]), Err(RoleFault::Life));
        }
    }

    #[test]
    fn asks_the_partitions_own_sts_in_the_providers_region() {
        assert_eq!(of(&[("region", "eu-west-1")]), Ok(None));
        for (partition, region, host) in [
            ("aws", Some("eu-west-1"), "sts.eu-west-1.amazonaws.com"),
            ("aws", None, "sts.us-east-1.amazonaws.com"),
            ("aws-cn", None, "sts.cn-north-1.amazonaws.com.cn"),
            ("aws-us-gov", Some("us-gov-east-1"), "sts.us-gov-east-1.amazonaws.com"),
        ] {
            let arn = format!("arn:{partition}:iam::123456789012:role/team/x");
            let mut pairs = vec![("assumeRole.arn", arn.as_str()), ("assumeRole.duration", "900")];
            pairs.extend(region.map(|region| ("region", region)));
            let role = of(&pairs).unwrap().unwrap();
            assert_eq!(role.sts.to_string(), format!("https://{host}/"));
            assert_eq!((role.seconds, role.external_id), (900, None));
        }
    }
}
