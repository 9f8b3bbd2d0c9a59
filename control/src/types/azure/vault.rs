//! Key Vault's data plane: secrets, keys and certificates, whose names Azure compares without regard to case.

use http::Method;

use super::{of, plain_segments};
use crate::types::{Ask, Resolved, Resource};

const VAULTS: &str = "Microsoft.KeyVault/vaults/";

pub(super) fn resolve<'a>(ask: &Ask<'a>, host: &str) -> Option<Resolved<'a>> {
    let path = ask.path.to_ascii_lowercase();
    let segments = plain_segments(&path)?;
    let (kind, rest) = segments.split_first()?;
    let (kind, deleted) = match kind.strip_prefix("deleted") {
        Some(kind) => (kind, true),
        None => (*kind, false),
    };
    let action = match kind {
        "secrets" => of_secret(ask.method, rest, deleted)?,
        "keys" => of_key(ask.method, rest, deleted)?,
        "certificates" if !deleted => of_certificate(ask.method, rest)?,
        _ => return None,
    };
    let name = rest.first().filter(|name| **name != "restore").copied().unwrap_or("*");
    let resource = Resource::Arns(vec![["https://", host, "/", kind, "/", name].concat()]);
    Some(Resolved { resource, ..of(&[VAULTS, kind, "/", action].concat()) })
}

fn of_secret(method: &Method, rest: &[&str], deleted: bool) -> Option<&'static str> {
    Some(match (method, rest, deleted) {
        (&Method::GET, [] | [_, "versions"], false) | (&Method::GET, [] | [_], true) => "readMetadata/action",
        (&Method::GET, [_] | [_, _], false) => "getSecret/action",
        (&Method::PUT, [_], false) => "setSecret/action",
        (&Method::PATCH, [_] | [_, _], false) => "update/action",
        (&Method::DELETE, [_], false) => "delete",
        (&Method::DELETE, [_], true) => "purge/action",
        (&Method::POST, ["restore"], false) => "restore/action",
        (&Method::POST, [_, "backup"], false) => "backup/action",
        (&Method::POST, [_, "recover"], true) => "recover/action",
        _ => return None,
    })
}

fn of_key(method: &Method, rest: &[&str], deleted: bool) -> Option<&'static str> {
    Some(match (method, rest, deleted) {
        (&Method::GET, [] | [_] | [_, _], false) | (&Method::GET, [] | [_], true) => "read",
        (&Method::PUT, [_], false) => "import/action",
        (&Method::PATCH, [_] | [_, _], false) => "update/action",
        (&Method::DELETE, [_], false) => "delete",
        (&Method::DELETE, [_], true) => "purge/action",
        (&Method::POST, ["restore"], false) => "restore/action",
        (&Method::POST, [_, "recover"], true) => "recover/action",
        (&Method::POST, [_, "create"], false) => "create/action",
        (&Method::POST, [_, "backup"], false) => "backup/action",
        (&Method::POST, [_, "rotate"], false) => "rotate/action",
        (&Method::POST, [_, operation] | [_, _, operation], false) => match *operation {
            "encrypt" => "encrypt/action",
            "decrypt" => "decrypt/action",
            "sign" => "sign/action",
            "verify" => "verify/action",
            "wrapkey" => "wrap/action",
            "unwrapkey" => "unwrap/action",
            "release" => "release/action",
            _ => return None,
        },
        _ => return None,
    })
}

fn of_certificate(method: &Method, rest: &[&str]) -> Option<&'static str> {
    Some(match (method, rest) {
        // Contacts and issuers are of the vault.
        (_, ["contacts" | "issuers", ..]) => return None,
        (&Method::GET, [] | [_] | [_, _]) => "read",
        (&Method::POST, [_, "create"]) => "create/action",
        (&Method::POST, [_, "import"]) => "import/action",
        (&Method::PATCH, [_] | [_, _]) => "update/action",
        (&Method::DELETE, [_]) => "delete",
        _ => return None,
    })
}
