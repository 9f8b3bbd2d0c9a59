//! Azure: actions are RBAC operations (`Microsoft.Compute/virtualMachines/start/action`), compared without regard to case, as
//! Azure does.
//!
//! Read are Resource Manager (by its path grammar), Blob Storage, Key Vault and Microsoft Graph. What is not known is opaque, since an
//! agent can make any request so on purpose: batches, percent-codes where no name needs one, a parameter twice. Resources are
//! resource ids (`/subscriptions/…`, in lower case) or URLs of the data plane.

mod blob;
mod clouds;
mod graph;
mod vault;

use std::borrow::Cow;

use http::Method;

use super::shapes::ok;
use super::variant::VariantSpec;
use super::{Actions, Ask, AuthSpec, Clarity, InjectionSpec, Resolved, Resource, TypeSpec, UNKNOWN};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "azure",
    summary: "Azure Resource Manager, Blob Storage, Key Vault and Microsoft Graph, with an application's credential (`config.tenantId`), in the public cloud or another one (`config.cloud`): the agent's own token calls are answered with a dummy. `scope.resources` names resource ids (`/subscriptions/…`) and URLs (`https://acme.blob.core.windows.net/logs/*`). Operations that hand out credentials (`Microsoft.Storage/storageAccounts/listKeys/action`, `…/generateUserDelegationKey/action`, `Microsoft.Graph/applications/addPassword/action`) hand them to the agent: deny those.",
    hosts: &["management.azure.com", "graph.microsoft.com", "*.blob.core.windows.net", "*.vault.azure.net"],
    auth: &[AuthSpec {
        name: "azure-client-credentials",
        keys: &["client_secret", "certificate"],
        injections: &[
            of_audience(&["management.azure.com"], &[("audience", "https://management.azure.com")]),
            of_audience(&["graph.microsoft.com"], &[("audience", "https://graph.microsoft.com")]),
            of_audience(STORAGE, &[("audience", "https://storage.azure.com")]),
            of_audience(&["*.vault.azure.net"], &[("audience", "https://vault.azure.net")]),
        ],
        public_prefixes: &[],
        // Tokens for further tenants.
        remove_headers: &["x-ms-authorization-auxiliary"],
        remove_params: &[],
        dummy: "{rand:40}",
        env: &["AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"],
    }],
    actions: Actions::Open(KNOWN),
    scope: Some("resources"),
    verify: Some(ok("https://management.azure.com/tenants?api-version=2022-12-01")),
    resolve,
};

/// Another cloud than the public one.
pub(super) fn cloud(name: &str) -> Option<&'static VariantSpec> {
    match name {
        "usgovernment" => Some(&clouds::US_GOVERNMENT),
        "china" => Some(&clouds::CHINA),
        _ => None,
    }
}

/// Where tokens are given.
pub(super) const LOGIN: &str = "login.microsoftonline.com";

/// Of these, only blobs are read; the others are hosts of a provider that names them.
const STORAGE: &[&str] = &[
    "*.blob.core.windows.net",
    "*.dfs.core.windows.net",
    "*.queue.core.windows.net",
    "*.table.core.windows.net",
    "*.file.core.windows.net",
];

/// A token is for one audience alone.
const fn of_audience(
    hosts: &'static [&'static str],
    fields: &'static [(&'static str, &'static str)],
) -> InjectionSpec {
    InjectionSpec { hosts, key: "azure-client-credentials", fields }
}

/// Actions in Azure's own spelling; the listed ones are shown by name in refusals.
const KNOWN: &[&str] = &[
    "Microsoft.Resources/subscriptions/read",
    "Microsoft.Resources/tenants/read",
    "Microsoft.Resources/subscriptions/resources/read",
    "Microsoft.Resources/subscriptions/resourceGroups/read",
    "Microsoft.Resources/subscriptions/resourceGroups/write",
    "Microsoft.Resources/subscriptions/resourceGroups/delete",
    "Microsoft.Resources/subscriptions/resourceGroups/resources/read",
    "Microsoft.Resources/subscriptions/resourceGroups/moveResources/action",
    "Microsoft.Resources/deployments/read",
    "Microsoft.Resources/deployments/write",
    "Microsoft.Resources/deployments/delete",
    "Microsoft.Authorization/roleAssignments/read",
    "Microsoft.Authorization/roleAssignments/write",
    "Microsoft.Authorization/roleAssignments/delete",
    "Microsoft.Compute/virtualMachines/read",
    "Microsoft.Compute/virtualMachines/write",
    "Microsoft.Compute/virtualMachines/delete",
    "Microsoft.Compute/virtualMachines/start/action",
    "Microsoft.Compute/virtualMachines/powerOff/action",
    "Microsoft.Compute/virtualMachines/deallocate/action",
    "Microsoft.Compute/virtualMachines/restart/action",
    "Microsoft.Compute/virtualMachines/runCommand/action",
    "Microsoft.Network/virtualNetworks/read",
    "Microsoft.Network/networkSecurityGroups/read",
    "Microsoft.Network/networkSecurityGroups/write",
    "Microsoft.Web/sites/read",
    "Microsoft.Web/sites/write",
    "Microsoft.Web/sites/restart/action",
    "Microsoft.ContainerService/managedClusters/read",
    "Microsoft.ContainerService/managedClusters/listClusterAdminCredential/action",
    "Microsoft.KeyVault/vaults/read",
    "Microsoft.KeyVault/vaults/write",
    "Microsoft.KeyVault/vaults/delete",
    "Microsoft.Storage/storageAccounts/read",
    "Microsoft.Storage/storageAccounts/write",
    "Microsoft.Storage/storageAccounts/delete",
    "Microsoft.Storage/storageAccounts/listKeys/action",
    "Microsoft.Storage/storageAccounts/listAccountSas/action",
    "Microsoft.Storage/storageAccounts/blobServices/read",
    "Microsoft.Storage/storageAccounts/blobServices/write",
    "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action",
    "Microsoft.Storage/storageAccounts/blobServices/containers/read",
    "Microsoft.Storage/storageAccounts/blobServices/containers/write",
    "Microsoft.Storage/storageAccounts/blobServices/containers/delete",
    "Microsoft.Storage/storageAccounts/blobServices/containers/getAcl/action",
    "Microsoft.Storage/storageAccounts/blobServices/containers/setAcl/action",
    "Microsoft.Storage/storageAccounts/blobServices/containers/lease/action",
    "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read",
    "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write",
    "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete",
    "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/deleteBlobVersion/action",
    "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/permanentDelete/action",
    "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/tags/read",
    "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/tags/write",
    "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/filter/action",
    "Microsoft.KeyVault/vaults/secrets/getSecret/action",
    "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
    "Microsoft.KeyVault/vaults/secrets/setSecret/action",
    "Microsoft.KeyVault/vaults/secrets/update/action",
    "Microsoft.KeyVault/vaults/secrets/delete",
    "Microsoft.KeyVault/vaults/secrets/backup/action",
    "Microsoft.KeyVault/vaults/secrets/restore/action",
    "Microsoft.KeyVault/vaults/secrets/recover/action",
    "Microsoft.KeyVault/vaults/secrets/purge/action",
    "Microsoft.KeyVault/vaults/keys/read",
    "Microsoft.KeyVault/vaults/keys/create/action",
    "Microsoft.KeyVault/vaults/keys/import/action",
    "Microsoft.KeyVault/vaults/keys/update/action",
    "Microsoft.KeyVault/vaults/keys/delete",
    "Microsoft.KeyVault/vaults/keys/backup/action",
    "Microsoft.KeyVault/vaults/keys/restore/action",
    "Microsoft.KeyVault/vaults/keys/recover/action",
    "Microsoft.KeyVault/vaults/keys/purge/action",
    "Microsoft.KeyVault/vaults/keys/encrypt/action",
    "Microsoft.KeyVault/vaults/keys/decrypt/action",
    "Microsoft.KeyVault/vaults/keys/wrap/action",
    "Microsoft.KeyVault/vaults/keys/unwrap/action",
    "Microsoft.KeyVault/vaults/keys/sign/action",
    "Microsoft.KeyVault/vaults/keys/verify/action",
    "Microsoft.KeyVault/vaults/keys/release/action",
    "Microsoft.KeyVault/vaults/keys/rotate/action",
    "Microsoft.KeyVault/vaults/certificates/read",
    "Microsoft.KeyVault/vaults/certificates/create/action",
    "Microsoft.KeyVault/vaults/certificates/import/action",
    "Microsoft.KeyVault/vaults/certificates/update/action",
    "Microsoft.KeyVault/vaults/certificates/delete",
    "Microsoft.Graph/users/read",
    "Microsoft.Graph/users/write",
    "Microsoft.Graph/users/delete",
    "Microsoft.Graph/users/messages/read",
    "Microsoft.Graph/users/sendMail/action",
    "Microsoft.Graph/groups/read",
    "Microsoft.Graph/groups/write",
    "Microsoft.Graph/applications/read",
    "Microsoft.Graph/applications/write",
    "Microsoft.Graph/applications/addPassword/action",
    "Microsoft.Graph/servicePrincipals/read",
    "Microsoft.Graph/servicePrincipals/addPassword/action",
];

/// What may act on any other resource, of another subscription too: templates and scripts.
const OPAQUE: &[&str] = &[
    "microsoft.resources/deployments/write",
    "microsoft.resources/deploymentscripts/write",
    "microsoft.resources/deploymentstacks/write",
    // By its query it deletes what the stack holds.
    "microsoft.resources/deploymentstacks/delete",
    "microsoft.resources/deploymentstacks/validate/action",
    "microsoft.resources/deployments/validate/action",
    "microsoft.resources/deployments/whatif/action",
    "microsoft.solutions/applications/write",
    "microsoft.blueprint/blueprintassignments/write",
];

/// Providers whose resources are made from others, which their bodies name (`sourceResourceId`).
const MADE_FROM_OTHERS: &[&str] = &[
    "microsoft.compute",
    "microsoft.sql",
    "microsoft.dbformysql",
    "microsoft.dbforpostgresql",
    "microsoft.dbformariadb",
    "microsoft.documentdb",
    "microsoft.synapse",
    "microsoft.netapp",
    "microsoft.recoveryservices",
    "microsoft.dataprotection",
    "microsoft.containerservice",
    "microsoft.containerregistry",
    "microsoft.web",
];

/// What is done to a resource with others that its body names.
const DONE_WITH_OTHERS: &[&str] = &[
    "microsoft.compute/virtualmachines/attachdetachdatadisks/action",
    "microsoft.containerregistry/registries/importimage/action",
    "microsoft.sql/servers/import/action",
    "microsoft.sql/servers/databases/import/action",
    "microsoft.sql/servers/databases/export/action",
];

/// The deepest resource id that is read.
const DEEPEST: usize = 40;

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    let host = ask.host.name().unwrap_or_default();
    let known = match () {
        () if clouds::NAMES.iter().any(|cloud| cloud.manager == host) => manager(ask),
        () if clouds::NAMES.iter().any(|cloud| cloud.graph == host) => graph::resolve(ask),
        () if clouds::NAMES.iter().any(|cloud| host.ends_with(cloud.blobs)) => blob::resolve(ask, host),
        () if clouds::NAMES.iter().any(|cloud| host.ends_with(cloud.vaults)) => vault::resolve(ask, host),
        () => None,
    };
    let mut resolved = known.unwrap_or_else(Resolved::unknown);
    if resolved.action == UNKNOWN {
        resolved.clarity = Clarity::Opaque;
    }
    resolved
}

/// Resource Manager: `/subscriptions/S/resourceGroups/G/providers/NAMESPACE/TYPE/NAME…`, which it reads without regard to case.
fn manager<'a>(ask: &Ask<'a>) -> Option<Resolved<'a>> {
    let path = ask.path.to_ascii_lowercase();
    let segments = plain_segments(&path)?;
    let action = match segments.iter().rposition(|segment| *segment == "providers") {
        // An extension resource belongs to the last of the providers.
        Some(at) if at + 1 < segments.len() => {
            let (namespace, rest) = segments.get(at + 1..)?.split_first()?;
            of_type(ask.method, namespace, rest)?
        }
        _ => of_resources(ask.method, &segments)?,
    };
    let id = ["/", &*segments.join("/")].concat();
    let is_opaque = OPAQUE.contains(&&*action) || names_others(&action);
    // What is moved, and what a query goes over, stands in the body.
    let shows = !is_opaque
        && !action.ends_with("/moveresources/action")
        && !action.starts_with("microsoft.resourcegraph/");
    let resource = if shows { Resource::Arns(vec![id]) } else { Resource::Hidden };
    let clarity = if is_opaque { Clarity::Opaque } else { Clarity::Clear };
    Some(Resolved { resource, clarity, ..of(&action) })
}

/// Whether the body may name other resources, which are then read: a disk of another subscription's snapshot.
fn names_others(action: &str) -> bool {
    let provider = action.split('/').next().unwrap_or_default();
    DONE_WITH_OTHERS.contains(&action) || (action.ends_with("/write") && MADE_FROM_OTHERS.contains(&provider))
}

/// `Microsoft.X/type/subtype/read` and its like. Types and names alternate; a POST ends with what is to be done.
fn of_type(method: &Method, namespace: &str, rest: &[&str]) -> Option<String> {
    let fits = namespace.contains('.') && !rest.is_empty();
    let (types, verb): (&[&str], &str) = match *method {
        Method::GET | Method::HEAD => (rest, "read"),
        Method::PUT | Method::PATCH if rest.len().is_multiple_of(2) => (rest, "write"),
        Method::DELETE if rest.len().is_multiple_of(2) => (rest, "delete"),
        Method::POST if !rest.len().is_multiple_of(2) => (rest, "action"),
        _ => return None,
    };
    let names = types.iter().step_by(2).fold(namespace.to_owned(), |names, kind| names + "/" + kind);
    fits.then(|| names + "/" + verb)
}

/// Subscriptions and resource groups, which have no provider in their path.
fn of_resources(method: &Method, segments: &[&str]) -> Option<String> {
    let read = matches!(*method, Method::GET | Method::HEAD);
    let noun = match segments {
        ["tenants"] if read => "tenants/read",
        ["subscriptions"] | ["subscriptions", _] if read => "subscriptions/read",
        ["subscriptions", _, "locations"] if read => "subscriptions/locations/read",
        ["subscriptions", _, "resources"] if read => "subscriptions/resources/read",
        ["subscriptions", _, "providers"] if read => "subscriptions/providers/read",
        ["subscriptions", _, "resourcegroups"] if read => "subscriptions/resourcegroups/read",
        ["subscriptions", _, "resourcegroups", _] => match *method {
            Method::GET | Method::HEAD => "subscriptions/resourcegroups/read",
            Method::PUT | Method::PATCH => "subscriptions/resourcegroups/write",
            Method::DELETE => "subscriptions/resourcegroups/delete",
            _ => return None,
        },
        ["subscriptions", _, "resourcegroups", _, "resources"] if read => {
            "subscriptions/resourcegroups/resources/read"
        }
        ["subscriptions", _, "resourcegroups", _, "moveresources"] if *method == Method::POST => {
            "subscriptions/resourcegroups/moveresources/action"
        }
        _ => return None,
    };
    Some(["microsoft.resources/", noun].concat())
}

/// The segments of a path without percent-codes; `None`: a code could hide a slash, an empty one another name.
fn plain_segments(path: &str) -> Option<Vec<&str>> {
    let path = path.strip_prefix('/')?;
    let segments: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
    let plain = |segment: &&str| {
        !segment.is_empty()
            && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~()@$!,=+:'&".contains(&b))
    };
    (segments.len() <= DEEPEST && segments.iter().all(plain)).then_some(segments)
}

/// An action by its name (in Azure's spelling where that is known), on something that is not shown.
fn of<'a>(action: &str) -> Resolved<'a> {
    let known = KNOWN.iter().find(|known| known.eq_ignore_ascii_case(action));
    Resolved {
        action: known.map_or_else(|| Cow::Owned(action.to_owned()), |known| Cow::Borrowed(*known)),
        ..Resolved::hidden(UNKNOWN)
    }
}

/// The one value of a parameter (names without regard to case), in lower case. `Err`: it stands twice.
fn parameter(query: Option<&str>, name: &str) -> Result<Option<String>, ()> {
    let mut values = parameters(query).filter(|(own, _)| own == name).map(|(_, value)| value);
    let first = values.next();
    if values.next().is_some() { Err(()) } else { Ok(first) }
}

/// The parameters of a query, decoded and in lower case.
fn parameters(query: Option<&str>) -> impl Iterator<Item = (String, String)> {
    query.unwrap_or_default().split(['&', ';']).filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name).to_ascii_lowercase(), decoded(value).to_ascii_lowercase())
    })
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy()
}
