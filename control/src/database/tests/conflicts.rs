//! What the store refuses, in the transaction: taken names, stale versions, what is in use, what covers the same, what is not
//! there, and another project's objects.

use crate::registry::{
    Attached, DocumentKind, EnvSource, NewProject, ObjectKind, ObjectRef, ProjectSettings, Registry,
    RegistryError, Seen,
};
use crate::vault::BoundHosts;
use crate::vault::local::Change;
use crate::vault::store::{Keeps, NewSecret, NewVersion, SealedUnder, Store, StoreError, Variable};

use super::bed::{ANY, Bed, agent, all, digest, name, now, object, project, provider, token};
use super::on_both;

on_both!(
    refuses_names_that_are_taken,
    refuses_a_version_that_is_not_the_current_one,
    a_secret_that_may_go_anywhere_comes_by_no_way_into_a_project_that_takes_none,
    refuses_to_delete_what_is_in_use,
    refuses_two_attachments_that_cover_the_same,
    refuses_what_names_what_is_not_there,
    objects_of_another_project_are_missing,
    refuses_a_project_that_is_not_there,
    a_name_that_is_used_again_never_repeats_a_version,
    refuses_texts_with_nul,
    pages_follow_each_other_without_gap,
);

fn variable(text: &str) -> Variable {
    Variable { name: text.to_owned(), value: "1".to_owned(), created: 0 }
}

fn exists<T: std::fmt::Debug>(outcome: Result<T, RegistryError>, wanted: &ObjectRef) {
    let Err(RegistryError::Exists(object)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(object, *wanted);
}

fn missing<T: std::fmt::Debug>(outcome: Result<T, RegistryError>, kind: ObjectKind) {
    let Err(RegistryError::Missing(object)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(object.kind, kind);
}

async fn refuses_names_that_are_taken(bed: &Bed) {
    let db = &bed.db;
    exists(db.add_project(project("one"), now()).await, &object(ObjectKind::Project, "one"));
    db.add_document("one", provider("p", &[], &[]), now()).await.unwrap();
    exists(db.add_document("one", provider("p", &[], &[]), now()).await, &object(ObjectKind::Provider, "p"));
    db.add_agent("one", agent("a"), now()).await.unwrap();
    exists(db.add_agent("one", agent("a"), now()).await, &object(ObjectKind::Agent, "a"));
    db.add_token(token("t", None), now()).await.unwrap();
    exists(db.add_token(token("t", Some("one")), now()).await, &object(ObjectKind::Token, "name of t"));
    let what = Attached::Document(DocumentKind::Provider, "p".to_owned());
    db.attach("one", "a", what.clone(), vec![], now()).await.unwrap();
    exists(db.attach("one", "a", what, vec![], now()).await, &object(ObjectKind::Attachment, "provider/p"));
    bed.add_secret("one", "s").await;
    let again = bed.vault().await.add("one", vec![super::bed::entry("s", "value-two-of-it")], vec![]).await;
    assert!(again.is_err());
    let view = db.acting(now(), ANY);
    view.insert("one", vec![], vec![variable("V")]).await.unwrap();
    let both = view.insert("one", vec![], vec![variable("W"), variable("V")]).await;
    assert!(matches!(both, Err(StoreError::VariableExists(_))));
    assert!(db.variable("one", "W").await.unwrap().is_none(), "all or none");
    // The same names in another project are other objects.
    db.add_document("two", provider("p", &[], &[]), now()).await.unwrap();
    db.acting(now(), ANY).insert("two", vec![], vec![variable("V")]).await.unwrap();
}

fn stale<T: std::fmt::Debug>(outcome: Result<T, RegistryError>, wanted: u64) {
    let Err(RegistryError::Stale { current, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(current, wanted);
}

async fn refuses_a_version_that_is_not_the_current_one(bed: &Bed) {
    let db = &bed.db;
    let first = db.add_document("one", provider("p", &[], &[]), now()).await.unwrap();
    let second =
        db.replace_document("one", provider("p", &[], &[]), Seen::Version(first), now()).await.unwrap();
    assert!(second > first);
    let old = Seen::Version(first);
    stale(db.replace_document("one", provider("p", &[], &[]), old, now()).await, second);
    stale(db.delete_document("one", DocumentKind::Provider, "p", old, now()).await, second);

    let made = db.project("one").await.unwrap().unwrap().version;
    let (old, wrong) = (Seen::Version(made), Seen::Version(made + 1000));
    stale(db.replace_project(project("one"), wrong, now()).await, made);
    stale(db.delete_project("one", wrong, now()).await, made);
    let version = db.replace_project(project("one"), old, now()).await.unwrap();
    stale(db.replace_project(project("one"), old, now()).await, version);

    let version = db.add_agent("one", agent("a"), now()).await.unwrap();
    stale(db.replace_agent("one", agent("a"), wrong, now()).await, version);
    stale(db.revoke_agent("one", "a", wrong, now()).await, version);
    stale(db.delete_agent("one", "a", wrong, now()).await, version);

    let version = db.add_token(token("t", Some("one")), now()).await.unwrap();
    stale(db.delete_token(Some("one"), "t", wrong, now()).await, version);

    db.acting(now(), ANY).insert("one", vec![], vec![variable("V")]).await.unwrap();
    let version = db.variable("one", "V").await.unwrap().unwrap().version;
    stale(db.replace_variable("one", "V", "2", wrong, now()).await, version);
    stale(Registry::delete_variable(db, "one", "V", wrong, now()).await, version);
    assert_eq!(db.variable("one", "V").await.unwrap().unwrap().value, "1");

    bed.add_secret("one", "s").await;
    let view = db.acting(now(), wrong);
    let empty = NewVersion {
        version: 2,
        created: 0,
        expires: None,
        hosts: None,
        values: vec![],
        under: SealedUnder::default(),
        grace: None,
        after: None,
    };
    stale(view.add_version("one", &name("s"), empty, Keeps::Last).await.map_err(Into::into), 1);
    stale(view.roll_back("one", &name("s"), 0).await.map_err(Into::into), 1);
    stale(view.delete_secret("one", &name("s")).await.map_err(Into::into), 1);
    assert!(db.acting(now(), Seen::Version(1)).delete_secret("one", &name("s")).await.unwrap());
}

async fn a_secret_that_may_go_anywhere_comes_by_no_way_into_a_project_that_takes_none(bed: &Bed) {
    let db = &bed.db;
    let view = db.acting(now(), ANY);
    let version = |version| NewVersion {
        version,
        created: 0,
        expires: None,
        hosts: None,
        values: vec![],
        under: SealedUnder::default(),
        grace: None,
        after: None,
    };
    let unbound = |outcome: Result<(), StoreError>| {
        let outcome = outcome.map_err(RegistryError::from);
        assert!(matches!(&outcome, Err(RegistryError::Unbound(of)) if of.name == "s"), "{outcome:?}");
    };
    let secret = || NewSecret { name: name("s"), description: None, first: version(1) };
    unbound(view.insert("one", vec![secret()], vec![]).await);
    // The owner of the database is asked nothing; nor was the server while the project took such secrets.
    bed.add_secret("one", "s").await;
    unbound(view.add_version("one", &name("s"), version(2), Keeps::Last).await);
    let hosts = Some(BoundHosts::parse(&["a.example.com"]).unwrap());
    let change = Change { expires: None, hosts, values: super::bed::values("another-value") };
    bed.vault().await.rotate("one", &name("s"), change).await.unwrap();
    unbound(view.roll_back("one", &name("s"), 0).await.map(drop));
    assert_eq!(db.acting(now(), ANY).secret("one", &name("s")).await.unwrap().unwrap().version, 2);
    let settings = ProjectSettings { unbound_secrets: true, ..ProjectSettings::default() };
    let takes = NewProject { settings, ..project("one") };
    db.replace_project(takes, ANY, now()).await.unwrap();
    view.roll_back("one", &name("s"), 0).await.unwrap();
}

fn in_use<T: std::fmt::Debug>(outcome: Result<T, RegistryError>, wanted: &[ObjectRef]) {
    let Err(RegistryError::InUse { users, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(users, wanted);
}

async fn refuses_to_delete_what_is_in_use(bed: &Bed) {
    let db = &bed.db;
    bed.add_secret("one", "s").await;
    let view = || db.acting(now(), ANY);
    view().insert("one", vec![], vec![variable("V")]).await.unwrap();
    db.add_document("one", provider("p", &["s"], &[]), now()).await.unwrap();
    let delete = || async { view().delete_secret("one", &name("s")).await.map_err(RegistryError::from) };
    in_use(delete().await, &[object(ObjectKind::Provider, "p")]);
    // The local vault's own way, too.
    let local = Store::delete_secret(db, "one", &name("s")).await.map_err(RegistryError::from);
    in_use(local, &[object(ObjectKind::Provider, "p")]);
    for at in ["b", "a"] {
        db.add_agent("one", agent(at), now()).await.unwrap();
        db.attach("one", at, Attached::Document(DocumentKind::Provider, "p".into()), vec![], now())
            .await
            .unwrap();
    }
    let agents = [object(ObjectKind::Agent, "a"), object(ObjectKind::Agent, "b")];
    in_use(db.delete_document("one", DocumentKind::Provider, "p", ANY, now()).await, &agents);
    let env = |env: &str, source| Attached::Env { name: env.into(), source };
    db.attach("one", "a", Attached::Secret(name("s")), vec![], now()).await.unwrap();
    db.attach("one", "b", env("TOKEN", EnvSource::Secret(name("s"))), vec![], now()).await.unwrap();
    db.attach("one", "b", env("MODE", EnvSource::Variable("V".into())), vec![], now()).await.unwrap();
    let [a, b] = agents;
    in_use(delete().await, &[a, b.clone(), object(ObjectKind::Provider, "p")]);
    in_use(Registry::delete_variable(db, "one", "V", ANY, now()).await, std::slice::from_ref(&b));
    let used = db.users("one", &object(ObjectKind::Variable, "V")).await.unwrap();
    assert_eq!(used, [b]);
    let content = ["agent a", "agent b", "provider p", "secret s", "variable V"];
    let refused = db.delete_project("one", ANY, now()).await;
    let Err(RegistryError::InUse { users, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(users.iter().map(ToString::to_string).collect::<Vec<_>>(), content);
    for agent in ["a", "b"] {
        db.delete_agent("one", agent, ANY, now()).await.unwrap();
    }
    db.delete_document("one", DocumentKind::Provider, "p", ANY, now()).await.unwrap();
    Registry::delete_variable(db, "one", "V", ANY, now()).await.unwrap();
    assert!(delete().await.unwrap());
    db.delete_project("one", ANY, now()).await.unwrap();
}

async fn refuses_two_attachments_that_cover_the_same(bed: &Bed) {
    let db = &bed.db;
    let attach = |what: &'static str| async move {
        db.attach("one", "a", Attached::Document(DocumentKind::Provider, what.into()), vec![], now()).await
    };
    let clash = |outcome: Result<u64, RegistryError>, wanted: &str| {
        let Err(RegistryError::Claimed { agent, claim, other }) = outcome else { panic!("{outcome:?}") };
        assert_eq!((agent.as_str(), claim.as_str()), ("a", wanted));
        other
    };
    db.add_agent("one", agent("a"), now()).await.unwrap();
    db.add_document("one", provider("p", &[], &["type:github", "host:a.example"]), now()).await.unwrap();
    db.add_document("one", provider("q", &[], &["type:other", "host:a.example"]), now()).await.unwrap();
    db.add_document("one", provider("r", &[], &["host:b.example"]), now()).await.unwrap();
    attach("p").await.unwrap();
    assert_eq!(clash(attach("q").await, "host:a.example"), object(ObjectKind::Provider, "p"));
    attach("r").await.unwrap();
    // A document that is attached cannot grow into another's.
    let wider = provider("r", &[], &["host:b.example", "host:a.example"]);
    clash(db.replace_document("one", wider, ANY, now()).await, "host:a.example");
    let kept = db.document("one", DocumentKind::Provider, "r").await.unwrap().unwrap();
    assert_eq!(kept.document.claims, ["host:b.example"]);
    bed.add_secret("one", "s").await;
    let second = db.attach("one", "a", Attached::Secret(name("s")), vec!["type:github".into()], now()).await;
    clash(second, "type:github");
    // What is detached covers nothing any more.
    db.detach("one", "a", &Attached::Document(DocumentKind::Provider, "p".into()), Seen::Any, now())
        .await
        .unwrap();
    attach("q").await.unwrap();
    db.replace_document("one", provider("q", &[], &["type:other"]), ANY, now()).await.unwrap();
    attach("p").await.unwrap();
}

async fn refuses_what_names_what_is_not_there(bed: &Bed) {
    let db = &bed.db;
    let dangling = |outcome: Result<u64, RegistryError>, wanted: &ObjectRef| {
        let Err(RegistryError::Dangling(object)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(object, *wanted);
    };
    bed.add_secret("two", "s").await;
    let secret = object(ObjectKind::Secret, "s");
    dangling(db.add_document("one", provider("p", &["s"], &[]), now()).await, &secret);
    db.add_document("one", provider("p", &[], &[]), now()).await.unwrap();
    dangling(db.replace_document("one", provider("p", &["s"], &[]), ANY, now()).await, &secret);
    db.add_agent("one", agent("a"), now()).await.unwrap();
    let attach = |what| async move { db.attach("one", "a", what, vec![], now()).await };
    dangling(attach(Attached::Secret(name("s"))).await, &secret);
    let env = |source| Attached::Env { name: "E".into(), source };
    dangling(attach(env(EnvSource::Secret(name("s")))).await, &secret);
    dangling(attach(env(EnvSource::Variable("V".into()))).await, &object(ObjectKind::Variable, "V"));
    let model = Attached::Document(DocumentKind::ModelProvider, "p".into());
    dangling(attach(model).await, &object(ObjectKind::ModelProvider, "p"));
    assert!(db.attachments("one", "a", 0).await.unwrap().unwrap().is_empty());
}

async fn objects_of_another_project_are_missing(bed: &Bed) {
    let db = &bed.db;
    bed.add_secret("one", "s").await;
    db.acting(now(), ANY).insert("one", vec![], vec![variable("V")]).await.unwrap();
    db.add_document("one", provider("p", &[], &[]), now()).await.unwrap();
    db.add_agent("one", agent("a"), now()).await.unwrap();
    db.attach("one", "a", Attached::Secret(name("s")), vec![], now()).await.unwrap();
    db.add_token(token("t", Some("one")), now()).await.unwrap();

    assert!(db.document("two", DocumentKind::Provider, "p").await.unwrap().is_none());
    assert!(db.document("one", DocumentKind::ModelProvider, "p").await.unwrap().is_none());
    assert!(db.variable("two", "V").await.unwrap().is_none());
    assert!(db.agent("two", "a").await.unwrap().is_none());
    assert!(db.agent_state("two", "a").await.unwrap().is_none());
    assert!(db.attachments("two", "a", 0).await.unwrap().is_none());
    assert!(db.token(Some("two"), "t").await.unwrap().is_none());
    assert!(db.token(None, "t").await.unwrap().is_none());
    assert!(Store::secret(db, "two", &name("s")).await.unwrap().is_none());
    assert!(db.secrets_page("two", all()).await.unwrap().is_empty());
    assert!(db.documents("two", DocumentKind::Provider, all()).await.unwrap().is_empty());
    assert!(db.agents("two", all()).await.unwrap().is_empty());
    assert!(db.tokens(Some("two"), all()).await.unwrap().is_empty());

    missing(db.replace_document("two", provider("p", &[], &[]), ANY, now()).await, ObjectKind::Provider);
    missing(db.delete_document("two", DocumentKind::Provider, "p", ANY, now()).await, ObjectKind::Provider);
    missing(db.replace_variable("two", "V", "2", ANY, now()).await, ObjectKind::Variable);
    missing(Registry::delete_variable(db, "two", "V", ANY, now()).await, ObjectKind::Variable);
    missing(db.replace_agent("two", agent("a"), ANY, now()).await, ObjectKind::Agent);
    missing(db.revoke_agent("two", "a", ANY, now()).await, ObjectKind::Agent);
    missing(db.delete_agent("two", "a", ANY, now()).await, ObjectKind::Agent);
    missing(db.attach("two", "a", Attached::Secret(name("s")), vec![], now()).await, ObjectKind::Agent);
    missing(db.detach("two", "a", &Attached::Secret(name("s")), Seen::Any, now()).await, ObjectKind::Agent);
    missing(
        db.detach("one", "a", &Attached::Secret(name("x")), Seen::Any, now()).await,
        ObjectKind::Attachment,
    );
    missing(db.delete_token(Some("two"), "t", ANY, now()).await, ObjectKind::Token);
    assert!(!db.acting(now(), ANY).delete_secret("two", &name("s")).await.unwrap());
    assert!(db.document("one", DocumentKind::Provider, "p").await.unwrap().is_some());
    assert_eq!(db.agent_by_token(&digest("a")).await.unwrap().unwrap().project, "one");
    assert!(db.agent_by_token(&digest("b")).await.unwrap().is_none());
    assert!(db.token_by_digest(&digest("t")).await.unwrap().is_some());
    assert!(db.token_by_digest(&digest("a")).await.unwrap().is_none(), "an agent's token is no API token");
}

async fn refuses_a_project_that_is_not_there(bed: &Bed) {
    let db = &bed.db;
    missing(db.add_document("none", provider("p", &[], &[]), now()).await, ObjectKind::Project);
    missing(db.add_agent("none", agent("a"), now()).await, ObjectKind::Project);
    missing(db.add_token(token("t", Some("none")), now()).await, ObjectKind::Project);
    missing(db.replace_project(project("none"), ANY, now()).await, ObjectKind::Project);
    missing(db.delete_project("none", ANY, now()).await, ObjectKind::Project);
    let first = NewVersion {
        version: 1,
        created: 0,
        expires: None,
        hosts: None,
        values: vec![],
        under: SealedUnder::default(),
        grace: None,
        after: None,
    };
    let secret = NewSecret { name: name("s"), description: None, first };
    let made = db.acting(now(), ANY).insert("none", vec![secret], vec![]).await;
    missing(made.map_err(RegistryError::from), ObjectKind::Project);
    assert!(Store::secrets(db, "none").await.unwrap().is_empty());
}

async fn a_name_that_is_used_again_never_repeats_a_version(bed: &Bed) {
    let db = &bed.db;
    let first = db.add_document("one", provider("p", &[], &[]), now()).await.unwrap();
    db.delete_document("one", DocumentKind::Provider, "p", ANY, now()).await.unwrap();
    let second = db.add_document("one", provider("p", &[], &[]), now()).await.unwrap();
    assert!(second > first);
    bed.add_secret("one", "s").await;
    assert!(db.acting(now(), ANY).delete_secret("one", &name("s")).await.unwrap());
    bed.add_secret("one", "s").await;
    assert_eq!(Store::secret(db, "one", &name("s")).await.unwrap().unwrap().version, 2);
}

async fn refuses_texts_with_nul(bed: &Bed) {
    let mut document = provider("p", &[], &[]);
    document.text.push('\0');
    let refused = bed.db.add_document("one", document, now()).await;
    assert!(matches!(refused, Err(RegistryError::Store(StoreError::Nul))), "{refused:?}");
    assert!(bed.db.document("one", DocumentKind::Provider, "p").await.unwrap().is_none());
}

async fn pages_follow_each_other_without_gap(bed: &Bed) {
    let names = ["A", "A_B", "Z", "_", "a", "a-b", "a.b", "ab", "z"];
    for name in names {
        bed.db.add_agent("one", agent(name), now()).await.unwrap();
        bed.add_secret("one", if name == "_" { "_U" } else { name }).await;
    }
    let (mut found, mut secrets) = (Vec::new(), Vec::new());
    let mut page = crate::registry::Page { after: None, limit: 2 };
    loop {
        let part = bed.db.agents("one", page.clone()).await.unwrap();
        let Some(last) = part.last() else { break };
        page.after = Some(last.name.clone());
        found.extend(part.into_iter().map(|agent| agent.name));
    }
    page.after = None;
    loop {
        let part = bed.db.secrets_page("one", page.clone()).await.unwrap();
        let Some(last) = part.last() else { break };
        page.after = Some(last.name.to_string());
        assert!(part.iter().all(|row| row.keys.len() == 1));
        secrets.extend(part.into_iter().map(|row| row.name.to_string()));
    }
    let mut sorted = names.map(str::to_owned).to_vec();
    sorted.sort();
    assert_eq!(found, sorted);
    assert_eq!(secrets.len(), names.len());
    assert!(secrets.is_sorted());
}
