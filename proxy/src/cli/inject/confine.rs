//! `--enforce nftables`: only the sidecar's user leaves the pod, by rules that an init container loads.
//!
//! Refuses containers that are, may be or can become that user, or can change the rules or go around them. What a container says
//! nothing about is taken from it: who has `NET_RAW` sends past the rules (packet sockets), and root that may change its user, or run a
//! file that changes it, is the sidecar's user when it likes.

use serde_json::{Map, Value, json};

use super::container::USER;
use super::pod::{Refused, entries, is_true, list, name};

/// Only the sidecar's user leaves the pod; the rest reaches loopback alone. Answers to what came in pass, so that probes work.
/// Names are looked up by the sidecar. The neighbours of IPv6 are looked up by the kernel, which is no user.
const RULES: &str = "table inet doorward
delete table inet doorward
table inet doorward {
  chain output {
    type filter hook output priority 0; policy drop;
    oifname lo accept
    ct state established,related accept
    meta skuid 65532 accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept
    reject
  }
}
";

/// Capabilities that are taken from every other container, most of which a runtime gives to root.
const TAKEN: [&str; 3] = ["NET_ADMIN", "NET_RAW", "SETUID"];
/// Others that lead to one of these, or into another process or the kernel.
const STRONGER: [&str; 6] = ["ALL", "SYS_ADMIN", "SYS_PTRACE", "SYS_MODULE", "BPF", "SYS_RAWIO"];

/// Runs before everything else, the sidecar as well.
pub(super) fn confiner(image: &str) -> Value {
    json!({
        "name": "doorward-confine",
        "image": image,
        "command": ["sh", "-c", "printf %s \"$RULES\" | nft -f -"],
        "env": [{"name": "RULES", "value": RULES}],
        "securityContext": {
            "runAsUser": 0, "runAsNonRoot": false, "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}, "seccompProfile": {"type": "RuntimeDefault"},
        },
    })
}

/// Refuses a container to which the rules would not hold.
pub(super) fn refuse(container: &Value, user_of_all: Option<&Value>) -> Result<(), Refused> {
    let own = || name(container).to_owned();
    let user = container.pointer("/securityContext/runAsUser").or(user_of_all);
    match user.and_then(Value::as_u64) {
        None => return Err(Refused::UnknownUser(own())),
        Some(USER) => return Err(Refused::SameUser(own())),
        Some(_) => {}
    }
    if is_true(container.pointer("/securityContext/allowPrivilegeEscalation")) {
        return Err(Refused::Escalation(own()));
    }
    let added = container.pointer("/securityContext/capabilities").into_iter();
    let mut added = added.flat_map(|capabilities| entries(capabilities, "add")).filter_map(Value::as_str);
    let is_strong = |added: &&str| {
        let plain = added.trim_start_matches("CAP_");
        TAKEN.contains(&plain) || STRONGER.contains(&plain)
    };
    match added.find(is_strong) {
        Some(capability) => Err(Refused::Capability { container: own(), capability: capability.to_owned() }),
        None => Ok(()),
    }
}

/// Takes from a container what it could get around the rules with.
pub(super) fn confine(container: &mut Map<String, Value>) -> Result<(), Refused> {
    let context = object(container, "securityContext")?;
    context.insert("allowPrivilegeEscalation".to_owned(), false.into());
    let dropped = list(object(context, "capabilities")?, "drop")?;
    if !dropped.iter().any(|one| one == "ALL") {
        let missing: Vec<Value> =
            TAKEN.iter().map(|&one| Value::from(one)).filter(|one| !dropped.contains(one)).collect();
        dropped.extend(missing);
    }
    Ok(())
}

/// An object that is there, or an empty one.
fn object<'a>(
    map: &'a mut Map<String, Value>,
    key: &'static str,
) -> Result<&'a mut Map<String, Value>, Refused> {
    let value = map.entry(key).or_insert_with(|| json!({}));
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut().ok_or(Refused::Form(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_containers_that_are_may_be_or_can_become_the_sidecars_user() {
        let said = |context: Value| {
            let container = json!({"name": "a", "securityContext": context});
            refuse(&container, None).map_err(|why| why.to_string())
        };
        for (context, words) in [
            (json!({}), "which user"),
            (json!({"runAsUser": 65532}), "the sidecar's user"),
            (json!({"runAsUser": 0, "allowPrivilegeEscalation": true}), "allowPrivilegeEscalation"),
            (json!({"runAsUser": 0, "capabilities": {"add": ["CHOWN", "SETUID"]}}), "SETUID"),
            (json!({"runAsUser": 0, "capabilities": {"add": ["CAP_NET_RAW"]}}), "CAP_NET_RAW"),
            (json!({"runAsUser": 7, "capabilities": {"add": ["ALL"]}}), "ALL"),
        ] {
            let refused = said(context.clone()).unwrap_err();
            assert!(refused.contains(words), "{context}: {refused}");
        }
        assert_eq!(said(json!({"runAsUser": 0, "capabilities": {"add": ["CHOWN"]}})), Ok(()));
        // What all of the pod's are counts where a container says nothing else.
        let container = json!({"name": "a"});
        assert_eq!(refuse(&container, Some(&json!(65532))), Err(Refused::SameUser("a".into())));
        assert_eq!(refuse(&container, Some(&json!(1000))), Ok(()));
    }

    #[test]
    fn takes_what_leads_around_the_rules_and_leaves_the_rest() {
        let confined = |context: Value| {
            let mut container = json!({"name": "a", "securityContext": context});
            confine(container.as_object_mut().unwrap()).unwrap();
            container["securityContext"].clone()
        };
        let all = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["NET_ADMIN", "NET_RAW", "SETUID"]}});
        assert_eq!(confined(Value::Null), all);
        assert_eq!(
            confined(json!({"runAsUser": 7, "capabilities": {"add": ["CHOWN"], "drop": ["SETUID"]}})),
            json!({
                "runAsUser": 7, "allowPrivilegeEscalation": false,
                "capabilities": {"add": ["CHOWN"], "drop": ["SETUID", "NET_ADMIN", "NET_RAW"]},
            })
        );
        assert_eq!(
            confined(json!({"capabilities": {"drop": ["ALL"]}}))["capabilities"]["drop"],
            json!(["ALL"])
        );
    }
}
