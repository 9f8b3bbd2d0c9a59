//! Azure's other clouds: the same services below other names, with a login host and audiences of their own.
//!
//! One application's credential is for one cloud: no cloud's token goes to another's hosts.

use super::super::InjectionSpec;
use super::super::variant::VariantSpec;
use super::of_audience;

/// How the clouds call one service: Resource Manager and Graph by their hosts, the others by what their hosts end with.
pub(super) struct Names {
    pub(super) manager: &'static str,
    pub(super) graph: &'static str,
    pub(super) blobs: &'static str,
    pub(super) vaults: &'static str,
}

/// Of every cloud, the public one first.
pub(super) const NAMES: &[Names] = &[
    Names {
        manager: "management.azure.com",
        graph: "graph.microsoft.com",
        blobs: ".blob.core.windows.net",
        vaults: ".vault.azure.net",
    },
    Names {
        manager: "management.usgovcloudapi.net",
        graph: "graph.microsoft.us",
        blobs: ".blob.core.usgovcloudapi.net",
        vaults: ".vault.usgovcloudapi.net",
    },
    Names {
        manager: "management.chinacloudapi.cn",
        graph: "microsoftgraph.chinacloudapi.cn",
        blobs: ".blob.core.chinacloudapi.cn",
        vaults: ".vault.azure.cn",
    },
];

pub(super) static US_GOVERNMENT: VariantSpec = VariantSpec {
    hosts: &[
        "management.usgovcloudapi.net",
        "graph.microsoft.us",
        "*.blob.core.usgovcloudapi.net",
        "*.vault.usgovcloudapi.net",
    ],
    injections: &[("azure-client-credentials", US_GOVERNMENT_INJECTIONS)],
    verify: "https://management.usgovcloudapi.net/tenants?api-version=2022-12-01",
    env: &[("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us")],
};

const US_GOVERNMENT_LOGIN: (&str, &str) = ("tokenUrl", "https://login.microsoftonline.us/");

const US_GOVERNMENT_INJECTIONS: &[InjectionSpec] = &[
    of_audience(
        &["management.usgovcloudapi.net"],
        &[("audience", "https://management.usgovcloudapi.net"), US_GOVERNMENT_LOGIN],
    ),
    of_audience(&["graph.microsoft.us"], &[("audience", "https://graph.microsoft.us"), US_GOVERNMENT_LOGIN]),
    of_audience(
        &[
            "*.blob.core.usgovcloudapi.net",
            "*.dfs.core.usgovcloudapi.net",
            "*.queue.core.usgovcloudapi.net",
            "*.table.core.usgovcloudapi.net",
            "*.file.core.usgovcloudapi.net",
        ],
        &[("audience", "https://storage.azure.com"), US_GOVERNMENT_LOGIN],
    ),
    of_audience(
        &["*.vault.usgovcloudapi.net"],
        &[("audience", "https://vault.usgovcloudapi.net"), US_GOVERNMENT_LOGIN],
    ),
];

pub(super) static CHINA: VariantSpec = VariantSpec {
    hosts: &[
        "management.chinacloudapi.cn",
        "microsoftgraph.chinacloudapi.cn",
        "*.blob.core.chinacloudapi.cn",
        "*.vault.azure.cn",
    ],
    injections: &[("azure-client-credentials", CHINA_INJECTIONS)],
    verify: "https://management.chinacloudapi.cn/tenants?api-version=2022-12-01",
    env: &[("AZURE_AUTHORITY_HOST", "https://login.chinacloudapi.cn")],
};

const CHINA_LOGIN: (&str, &str) = ("tokenUrl", "https://login.chinacloudapi.cn/");

const CHINA_INJECTIONS: &[InjectionSpec] = &[
    of_audience(
        &["management.chinacloudapi.cn"],
        &[("audience", "https://management.chinacloudapi.cn"), CHINA_LOGIN],
    ),
    of_audience(
        &["microsoftgraph.chinacloudapi.cn"],
        &[("audience", "https://microsoftgraph.chinacloudapi.cn"), CHINA_LOGIN],
    ),
    of_audience(
        &[
            "*.blob.core.chinacloudapi.cn",
            "*.dfs.core.chinacloudapi.cn",
            "*.queue.core.chinacloudapi.cn",
            "*.table.core.chinacloudapi.cn",
            "*.file.core.chinacloudapi.cn",
        ],
        &[("audience", "https://storage.azure.com"), CHINA_LOGIN],
    ),
    of_audience(&["*.vault.azure.cn"], &[("audience", "https://vault.azure.cn"), CHINA_LOGIN]),
];
