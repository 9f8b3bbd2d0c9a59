//! Compute Engine's collections, as data.

use http::Method;

use super::tables::{BASE, Collection, POLICY, READ, READ_DELETE};

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

pub(super) const COMPUTE: &[Collection] = &[
    Collection {
        verbs: INSTANCE_VERBS,
        hidden: true,
        ..compute("projects/*/zones/*/instances", "compute.instances")
    },
    Collection { hidden: true, ..compute("projects/*/zones/*/disks", "compute.disks") },
    Collection {
        hidden: true,
        ..compute("projects/*/zones/*/instanceGroupManagers", "compute.instanceGroupManagers")
    },
    compute("projects/*/zones/*/instanceGroups", "compute.instanceGroups"),
    Collection { standard: READ, ..compute("projects/*/zones/*/machineTypes", "compute.machineTypes") },
    Collection {
        standard: READ_DELETE,
        ..compute("projects/*/zones/*/operations", "compute.zoneOperations")
    },
    compute("projects/*/regions/*/subnetworks", "compute.subnetworks"),
    compute("projects/*/regions/*/addresses", "compute.addresses"),
    Collection { hidden: true, ..compute("projects/*/regions/*/disks", "compute.disks") },
    Collection {
        standard: READ_DELETE,
        ..compute("projects/*/regions/*/operations", "compute.regionOperations")
    },
    Collection { hidden: true, ..compute("projects/*/global/images", "compute.images") },
    Collection { hidden: true, ..compute("projects/*/global/snapshots", "compute.snapshots") },
    compute("projects/*/global/firewalls", "compute.firewalls"),
    compute("projects/*/global/networks", "compute.networks"),
    Collection {
        hidden: true,
        ..compute("projects/*/global/instanceTemplates", "compute.instanceTemplates")
    },
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
