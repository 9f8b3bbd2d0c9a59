//! Who an agent's sidecars are: one identity is one agent's, in all projects.

use crate::registry::{Agent, Identity, NewAgent, ObjectKind, Registry, RegistryError, Seen};

use super::bed::{ANY, Bed, agent, all, now};
use super::on_both;

on_both!(
    refuses_an_identity_that_another_agent_has,
    refuses_identities_for_an_agent_that_is_not_there_or_was_changed,
    an_agent_is_found_by_its_identities_until_they_are_taken,
    identities_are_in_lists_and_states_and_outlive_a_rotation,
    identities_are_in_a_backup,
);

const ACCOUNT: &str = "system:serviceaccount:n:a";
const ID: &str = "spiffe://example.org/a";

fn identities(texts: &[&str]) -> Vec<Identity> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn identified(name: &str, texts: &[&str]) -> NewAgent {
    NewAgent { identities: identities(texts), ..agent(name) }
}

async fn owner(bed: &Bed, text: &str) -> Option<(String, String)> {
    let found = bed.db.agent_by_identity(&text.parse().unwrap()).await.unwrap();
    found.map(|Agent { project, name, .. }| (project, name))
}

async fn refuses_an_identity_that_another_agent_has(bed: &Bed) {
    let db = &bed.db;
    db.add_agent("one", identified("a", &[ACCOUNT]), now()).await.unwrap();
    let refused = db.add_agent("two", identified("z", &[ID, ACCOUNT]), now()).await.unwrap_err();
    assert!(matches!(refused, RegistryError::Identified(identity) if identity.as_str() == ACCOUNT));
    // All or none.
    assert!(db.agent("two", "z").await.unwrap().is_none() && owner(bed, ID).await.is_none());
    db.add_agent("one", agent("b"), now()).await.unwrap();
    let refused = db.identify_agent("one", "b", identities(&[ID, ACCOUNT]), ANY, now()).await;
    assert!(matches!(refused, Err(RegistryError::Identified(_))));
    let doubled = db.identify_agent("one", "b", identities(&[ID, ID]), ANY, now()).await;
    assert!(matches!(doubled, Err(RegistryError::Identified(_))));
    assert_eq!(owner(bed, ACCOUNT).await, Some(("one".into(), "a".into())));
    assert_eq!(owner(bed, ID).await, None);
}

async fn refuses_identities_for_an_agent_that_is_not_there_or_was_changed(bed: &Bed) {
    let db = &bed.db;
    let made = db.add_agent("one", agent("a"), now()).await.unwrap();
    for (project, name) in [("one", "b"), ("two", "a")] {
        let refused = db.identify_agent(project, name, identities(&[ID]), ANY, now()).await;
        assert!(matches!(refused, Err(RegistryError::Missing(_))));
    }
    let after = db.identify_agent("one", "a", identities(&[ID]), Seen::Version(made), now()).await.unwrap();
    let refused = db.identify_agent("one", "a", vec![], Seen::Version(made), now()).await;
    assert!(matches!(refused, Err(RegistryError::Stale { current, .. }) if current == after));
    assert!(owner(bed, ID).await.is_some());
}

async fn an_agent_is_found_by_its_identities_until_they_are_taken(bed: &Bed) {
    let db = &bed.db;
    db.add_agent("one", identified("a", &[ACCOUNT, ID]), now()).await.unwrap();
    let one = Some(("one".to_owned(), "a".to_owned()));
    assert_eq!((owner(bed, ACCOUNT).await, owner(bed, ID).await), (one.clone(), one.clone()));
    assert_eq!(owner(bed, "spiffe://example.org/A").await, None);
    let since = db.latest().await.unwrap();
    db.identify_agent("one", "a", identities(&[ID]), ANY, now()).await.unwrap();
    assert_eq!((owner(bed, ACCOUNT).await, owner(bed, ID).await), (None, one));
    // Streams hear of it as of every change of an agent.
    let (rows, _) = db.changes(None, since, 10).await.unwrap();
    assert!(
        rows.iter().any(|row| row
            .object
            .as_ref()
            .is_some_and(|one| one.kind == ObjectKind::Agent && one.name == "a"))
    );
    db.delete_agent("one", "a", ANY, now()).await.unwrap();
    assert_eq!(owner(bed, ID).await, None);
    db.add_agent("two", identified("z", &[ACCOUNT, ID]), now()).await.unwrap();
    assert_eq!(owner(bed, ID).await, Some(("two".into(), "z".into())));
}

async fn identities_are_in_lists_and_states_and_outlive_a_rotation(bed: &Bed) {
    let db = &bed.db;
    db.add_agent("one", identified("a", &[ACCOUNT, ID]), now()).await.unwrap();
    db.add_agent("one", agent("b"), now()).await.unwrap();
    db.add_agent("one", identified("c", &["spiffe://example.org/c"]), now()).await.unwrap();
    db.add_agent("two", identified("bb", &["spiffe://example.org/b"]), now()).await.unwrap();
    let page = db.agents("one", all()).await.unwrap();
    let known: Vec<_> = page.iter().map(|agent| agent.identities.len()).collect();
    assert_eq!(known, [2, 0, 1]);
    let fresh = NewAgent { digest: super::bed::digest("fresh"), ..agent("a") };
    db.replace_agent("one", fresh, ANY, now()).await.unwrap();
    let state = db.agent_state("one", "a").await.unwrap().unwrap();
    assert_eq!(state.agent.identities, identities(&[ID, ACCOUNT]));
}

async fn identities_are_in_a_backup(bed: &Bed) {
    bed.db.add_agent("one", identified("a", &[ACCOUNT]), now()).await.unwrap();
    let mut lines = Vec::new();
    let each = |line: &[u8]| {
        lines.extend_from_slice(line);
        lines.push(b'\n');
        Ok::<_, RegistryError>(())
    };
    bed.db.dump(each).await.unwrap();
    assert!(
        memchr::memmem::find(&lines, br#"["agent_identities",["system:serviceaccount:n:a","one","a"]]"#)
            .is_some()
    );
}
