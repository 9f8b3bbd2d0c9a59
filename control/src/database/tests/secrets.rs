//! The vault's side on both databases, and what one agent is entitled to.

use std::sync::Arc;

use crate::database::Database;
use crate::registry::{
    Act, AgentState, Attached, DocumentKind, EnvSource, Idempotency, NewAgent, Noted, ObjectKind, Registry,
    RegistryError, Seen, Sidecar,
};
use crate::vault::local::{Change, LocalVault};
use crate::vault::master::MasterError;
use crate::vault::store::{Keeps, NewVersion, SealedUnder, Store, StoreError, Variable};

use super::bed::{ANY, Bed, agent, digest, entry, name, noon, now, object, provider, values};
use super::on_both;

on_both!(
    refuses_another_master_key,
    versions_follow_each_other_and_roll_back,
    an_agent_gets_what_is_attached_and_nothing_else,
    a_revocation_ends_with_another_token_alone,
    an_attachment_is_synced_when_every_running_sidecar_has_it,
    a_request_with_a_key_counts_once,
    the_last_use_never_moves_back,
);

async fn refuses_another_master_key(bed: &Bed) {
    bed.add_secret("one", "s").await;
    let other = tempfile::tempdir().unwrap();
    let source = crate::vault::master::KeySource::Command(vec!["printf".into(), "ab".repeat(32)]);
    let store: Arc<dyn Store> = Arc::new(bed.db.clone());
    assert!(matches!(LocalVault::unlock(store, &source, noon).await, Err(MasterError::Wrong)));
    drop(other);
    bed.vault().await;
}

async fn versions_follow_each_other_and_roll_back(bed: &Bed) {
    let vault = bed.vault().await;
    let store: &Database = &bed.db;
    vault.add("one", vec![entry("s", "first-value")], vec![]).await.unwrap();
    let first = Store::secret(store, "one", &name("s")).await.unwrap().unwrap();
    assert!(
        matches!(vault.roll_back("one", &name("s")).await, Err(error) if error.to_string().contains("earlier"))
    );
    let change = |value: &str| Change { expires: None, hosts: None, values: values(value) };
    assert_eq!(vault.rotate("one", &name("s"), change("second-value")).await.unwrap(), 2);
    let second = Store::secret(store, "one", &name("s")).await.unwrap().unwrap();
    assert_ne!(second.keys, first.keys);
    assert_eq!(second.earlier, [1]);
    assert!(second.revision > first.revision);
    assert_eq!(vault.roll_back("one", &name("s")).await.unwrap(), 3);
    let third = Store::secret(store, "one", &name("s")).await.unwrap().unwrap();
    assert_eq!((&third.keys, third.sealed_as, &third.earlier[..]), (&first.keys, 1, &[2][..]));
    // A number that is not the next one is another writer's.
    let raced = NewVersion {
        version: 3,
        created: 0,
        expires: None,
        hosts: None,
        values: vec![],
        under: SealedUnder::default(),
        grace: None,
        after: None,
    };
    let refused = Store::add_version(store, "one", &name("s"), raced, Keeps::Last).await;
    assert!(matches!(refused, Err(StoreError::Raced(_))));
    assert!(
        vault.add("one", vec![entry("t", "value-of-t"), entry("s", "value-of-s")], vec![]).await.is_err()
    );
    assert!(Store::secret(store, "one", &name("t")).await.unwrap().is_none(), "all or none");
}

async fn an_agent_gets_what_is_attached_and_nothing_else(bed: &Bed) {
    let db = &bed.db;
    for secret in ["attached", "named", "withheld", "shown", "other"] {
        bed.add_secret("one", secret).await;
    }
    bed.add_secret("two", "attached").await;
    let mode = Variable { name: "MODE".into(), value: "fast".into(), created: 0 };
    db.acting(now(), ANY).insert("one", vec![], vec![mode]).await.unwrap();
    db.add_document("one", provider("p", &["named"], &[]), now()).await.unwrap();
    let mut held = provider("w", &["withheld"], &[]);
    held.withheld = true;
    db.add_document("one", held, now()).await.unwrap();
    db.add_document("one", provider("o", &["other"], &[]), now()).await.unwrap();
    db.add_agent("one", agent("a"), now()).await.unwrap();
    let env = |name: &str, source| Attached::Env { name: name.into(), source };
    for what in [
        Attached::Document(DocumentKind::Provider, "p".into()),
        Attached::Document(DocumentKind::Provider, "w".into()),
        Attached::Secret(name("attached")),
        env("MODE", EnvSource::Variable("MODE".into())),
        env("TOKEN", EnvSource::Secret(name("shown"))),
    ] {
        db.attach("one", "a", what, vec![], now()).await.unwrap();
    }
    let state = db.agent_state("one", "a").await.unwrap().unwrap();
    let secrets: Vec<_> = state.secrets.iter().map(|(row, _)| row.name.as_str()).collect();
    assert_eq!(secrets, ["attached", "named", "shown"]);
    assert!(state.secrets.iter().all(|(_, values)| values.len() == 1));
    let documents: Vec<_> = state.documents.iter().map(|one| one.document.name.as_str()).collect();
    assert_eq!(documents, ["p", "w"]);
    assert_eq!(state.variables.len(), 1);
    assert_eq!(state.attachments.len(), 5);
    assert_eq!(state.revision, db.latest().await.unwrap());
    db.add_agent("one", agent("b"), now()).await.unwrap();
    db.attach("one", "b", Attached::Document(DocumentKind::Provider, "p".into()), vec![], now())
        .await
        .unwrap();
    let names = ["b", "none", "a"].map(str::to_owned);
    let all = db.agent_states("one", &names).await.unwrap();
    let read = |state: &AgentState| (state.agent.name.clone(), state.documents.len(), state.secrets.len());
    let read: Vec<_> = all.iter().map(|state| state.as_ref().map(read)).collect();
    assert_eq!(read, [Some(("b".to_owned(), 1, 1)), None, Some(("a".to_owned(), 2, 3))]);
    db.detach("one", "a", &Attached::Secret(name("attached")), Seen::Any, now()).await.unwrap();
    let state = db.agent_state("one", "a").await.unwrap().unwrap();
    assert_eq!(state.secrets.len(), 2);
}

async fn a_revocation_ends_with_another_token_alone(bed: &Bed) {
    let db = &bed.db;
    db.add_agent("one", agent("a"), now()).await.unwrap();
    db.revoke_agent("one", "a", ANY, now()).await.unwrap();
    let described = NewAgent { description: Some("coder".into()), ..agent("a") };
    db.replace_agent("one", described, ANY, now()).await.unwrap();
    let kept = db.agent_by_token(&digest("a")).await.unwrap().unwrap();
    assert_eq!((kept.revoked.is_some(), kept.description.as_deref()), (true, Some("coder")));
    let fresh = NewAgent { digest: digest("new token"), ..agent("a") };
    db.replace_agent("one", fresh, ANY, now()).await.unwrap();
    assert!(db.agent_by_token(&digest("a")).await.unwrap().is_none());
    assert!(db.agent_by_token(&digest("new token")).await.unwrap().unwrap().revoked.is_none());
}

async fn an_attachment_is_synced_when_every_running_sidecar_has_it(bed: &Bed) {
    let db = &bed.db;
    let at = noon().unix_timestamp();
    bed.add_secret("one", "s").await;
    db.add_document("one", provider("p", &["s"], &[]), now()).await.unwrap();
    db.add_agent("one", agent("a"), now()).await.unwrap();
    db.attach("one", "a", Attached::Document(DocumentKind::Provider, "p".into()), vec![], now())
        .await
        .unwrap();
    let first = async || db.attachments("one", "a", at).await.unwrap().unwrap().remove(0);
    let synced = async || first().await.synced;
    assert!(!synced().await, "nobody has asked");
    assert_eq!(first().await.acknowledged, None);
    let seen = async |id: &str, acknowledged, seen| {
        let noted = |project: &str, agent: &str| {
            let sidecar = Sidecar { id: id.into(), acknowledged, seen };
            Noted { project: project.into(), agent: agent.into(), sidecar }
        };
        // Those of agents that are gone do not stand in the way of the others.
        db.acknowledge(&[noted("two", "a"), noted("one", "gone"), noted("one", "a")]).await.unwrap()
    };
    let before = db.latest().await.unwrap();
    seen("x", 0, at).await;
    assert!(!synced().await, "nothing is acknowledged");
    seen("x", before, at).await;
    assert!(synced().await);
    seen("x", 1, at - 5).await;
    assert!(synced().await, "an earlier acknowledgement that comes late changes nothing");
    seen("y", 1, at).await;
    assert!(!synced().await, "the second sidecar is behind");
    assert_eq!(first().await.acknowledged, Some(1));
    seen("y", before, at).await;
    assert!(synced().await);
    assert_eq!(db.latest().await.unwrap(), before, "being seen is no change");
    let change = Change { expires: None, hosts: None, values: values("another-value") };
    bed.vault().await.rotate("one", &name("s"), change).await.unwrap();
    assert!(!synced().await, "the secret of the document changed");
    assert_eq!(db.agent("one", "a").await.unwrap().unwrap().sidecars.len(), 2);
}

async fn a_request_with_a_key_counts_once(bed: &Bed) {
    let db = &bed.db;
    let at = noon().unix_timestamp();
    let request = |content: &str, at| {
        let makes = object(ObjectKind::Agent, "a");
        let request = Idempotency { owner: "t".into(), key: "k".into(), request: digest(content).0, makes };
        Act { idempotency: Some(request), ..Act::at(at) }
    };
    // A request that fails does not use its key up.
    let failed = db.add_agent("none", agent("a"), request("body", at)).await;
    assert!(matches!(failed, Err(RegistryError::Missing(_))));
    db.add_agent("one", agent("a"), request("body", at)).await.unwrap();
    let revision = db.latest().await.unwrap();
    let again = db.add_agent("one", agent("a"), request("body", at)).await;
    assert!(matches!(again, Err(RegistryError::Repeated(made)) if made == object(ObjectKind::Agent, "a")));
    let other = db.add_agent("one", agent("b"), request("another body", at)).await;
    assert!(matches!(other, Err(RegistryError::KeyReused)));
    let asked = request("body", at).idempotency.unwrap();
    assert_eq!(db.repeated(&asked, at).await.unwrap(), Some(object(ObjectKind::Agent, "a")));
    let foreign = Idempotency { owner: "u".into(), ..asked };
    assert_eq!(db.repeated(&foreign, at).await.unwrap(), None, "keys are each owner's own");
    assert_eq!(db.latest().await.unwrap(), revision, "nothing of it was written");
    // The vault's side counts once as well.
    let one = || async {
        let view = db.acting(request("secret", at + 86_400), Seen::Any);
        view.insert("one", vec![], vec![Variable { name: "V".into(), value: "1".into(), created: 0 }]).await
    };
    one().await.unwrap();
    let Err(StoreError::Refused(refused)) = one().await else { panic!("it counted twice") };
    assert!(matches!(*refused, RegistryError::Repeated(_)));
}

async fn the_last_use_never_moves_back(bed: &Bed) {
    let db = &bed.db;
    bed.add_secret("one", "s").await;
    db.secrets_used("one", vec![(name("s"), 50), (name("none"), 70)]).await.unwrap();
    db.secrets_used("one", vec![(name("s"), 40)]).await.unwrap();
    assert_eq!(db.last_used("one").await.unwrap(), [(name("s"), 50)]);
    assert_eq!(db.last_used("two").await.unwrap(), []);
    db.add_token(super::bed::token("t", None), now()).await.unwrap();
    let used = async || db.token(None, "t").await.unwrap().unwrap().last_used;
    assert_eq!(used().await, None);
    db.token_used("t", 1000).await.unwrap();
    db.token_used("t", 1030).await.unwrap();
    assert_eq!(used().await, Some(1000), "to the minute");
    db.token_used("t", 1060).await.unwrap();
    assert_eq!(used().await, Some(1060));
}
