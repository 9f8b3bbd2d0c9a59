//! What an issuer renews, and what it is written over.

use super::*;

/// The renewal of a provider that asks for its tokens at `login.example`.
fn renewal() -> Renewal {
    let permit = permit("oauth", "api.example:443");
    let mut provider = Arc::clone(permit.provider());
    drop(permit);
    let url = TokenUrl::parse("https://login.example/token").unwrap();
    Arc::get_mut(&mut provider).unwrap().auth.as_mut().unwrap().token_urls = vec![url];
    let facts = Facts {
        agent: &AgentName::local(),
        target: &Target::parse_authority("api.example:443").unwrap(),
        provider: &provider,
        method: &http::Method::GET,
        path: &Path::parse("/").unwrap(),
        query: None,
        body: None,
        headers: &http::HeaderMap::new(),
    };
    policy::decide(&facts).unwrap().permit().unwrap().renewal()
}

#[tokio::test]
async fn a_secret_is_opened_for_a_renewal_only_if_it_is_bound_to_the_token_host() {
    let place = Place::new();
    let local = place.local().await;
    local.add("default", vec![bound("oauth", "value-one", &["api.example"])], Vec::new()).await.unwrap();
    let vault = Vault::new(vec![Arc::clone(&local) as Arc<dyn Source>], noon);
    assert!(matches!(vault.open_for_renewal(&renewal()).await, Err(OpenError::NotBound(_))));
    let hosts = BoundHosts::parse(&["api.example", "login.example"]).unwrap();
    let both = Change { hosts: Some(hosts), ..change("value-one") };
    local.rotate("default", &name("oauth"), both).await.unwrap();
    assert!(
        vault
            .open_for_renewal(&renewal())
            .await
            .unwrap()
            .opened
            .value("token")
            .unwrap()
            .matches(b"value-one")
    );
    let (renewal, elsewhere) = (renewal(), Target::parse_authority("login.example:8443").unwrap());
    assert!(
        !renewal.covers(&elsewhere) && !renewal.covers(&Target::parse_authority("api.example:443").unwrap())
    );
    assert!(renewal.covers(&Target::parse_authority("login.example:443").unwrap()));
}

#[tokio::test]
async fn what_an_issuer_renewed_is_kept_only_over_the_version_that_it_was_shown() {
    let place = Place::new();
    let local = place.local().await;
    let hosts = &["api.example", "login.example"];
    local.add("default", vec![bound("oauth", "value-one", hosts)], Vec::new()).await.unwrap();
    let vault = Vault::new(vec![Arc::clone(&local) as Arc<dyn Source>], noon);
    let (renewal, secret) = (renewal(), secret_ref("oauth"));
    let next = |text: &str| Secret::new(text.into());
    for (version, value) in [(1, "refresh-two"), (2, "refresh-three")] {
        let shown = vault.open_for_renewal(&renewal).await.unwrap();
        assert_eq!(shown.opened.version.number, version);
        vault.renew(&renewal, &shown, vec![("refresh_token".to_owned(), next(value))]).await.unwrap();
    }
    assert!(
        vault.is_renewal(1.into(), 3.into(), &secret)
            && vault.is_renewal(2.into(), 3.into(), &secret)
            && !vault.is_renewal(3.into(), 2.into(), &secret)
    );
    let shown = vault.open_for_renewal(&renewal).await.unwrap();
    let opened = &shown.opened;
    assert!(opened.value("refresh_token").unwrap().matches(b"refresh-three"));
    assert!(opened.value("token").unwrap().matches(b"value-one"));
    assert_eq!(opened.terms.hosts.as_ref().unwrap().patterns(), *hosts);
    // A person came between: what the issuer gave for the old value is not put over the new one.
    local.rotate("default", &name("oauth"), change("value-two")).await.unwrap();
    let raced = vault.renew(&renewal, &shown, vec![("refresh_token".to_owned(), next("refresh-four"))]).await;
    assert!(matches!(raced, Err(OpenError::Changed(_))));
    assert!(!vault.is_renewal(3.into(), 4.into(), &secret) && !vault.is_renewal(1.into(), 4.into(), &secret));
    assert!(vault.is_renewal(4.into(), 4.into(), &secret));
    assert_eq!(vault.open_for_renewal(&renewal).await.unwrap().opened.version.number, 4);
}

#[tokio::test]
async fn what_an_issuer_renewed_leaves_the_version_that_a_person_can_roll_back_to() {
    let place = Place::new();
    let local = place.local().await;
    let hosts = &["api.example", "login.example"];
    local.add("default", vec![bound("oauth", "value-one", hosts)], Vec::new()).await.unwrap();
    let vault = Vault::new(vec![Arc::clone(&local) as Arc<dyn Source>], noon);
    let renewal = renewal();
    let renew = async |value: &str| {
        let shown = vault.open_for_renewal(&renewal).await.unwrap();
        vault.renew(&renewal, &shown, vec![("token".to_owned(), Secret::new(value.into()))]).await.unwrap();
    };
    // Nothing that a person entered came before: what the issuer made void is not kept.
    renew("renewed-one").await;
    let none = local.roll_back("default", &name("oauth")).await;
    assert!(matches!(none, Err(WriteError::Store(StoreError::NoEarlier(_)))));
    local.rotate("default", &name("oauth"), change("value-two")).await.unwrap();
    renew("renewed-two").await;
    renew("renewed-three").await;
    local.roll_back("default", &name("oauth")).await.unwrap();
    let shown = vault.open_for_renewal(&renewal).await.unwrap();
    assert!(shown.opened.value("token").unwrap().matches(b"renewed-one"));
}

/// A vault whose writes fail when they are told to.
#[derive(Debug)]
struct Failing {
    local: Arc<LocalVault>,
    writes_fail: AtomicUsize,
}

impl Source for Failing {
    fn open<'a>(&'a self, permit: &'a Permit, secret: &'a SecretRef) -> Opening<'a, Opened> {
        self.local.open(permit, secret)
    }

    fn facts<'a>(&'a self, secret: &'a SecretRef) -> Opening<'a, SecretFacts> {
        self.local.facts(secret)
    }

    fn renew<'a>(&'a self, permit: &'a Permit, renewed: Renewed<'a>) -> Opening<'a, u64> {
        let fails = |left: usize| left.checked_sub(1);
        match self.writes_fail.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails) {
            Ok(_) => {
                let full = std::io::Error::other("disk full");
                Box::pin(async move { Err(OpenError::source(renewed.secret, full)) })
            }
            Err(_) => self.local.renew(permit, renewed),
        }
    }
}

#[tokio::test]
async fn what_an_issuer_changed_is_never_shown_again_although_its_successor_could_not_be_written() {
    let place = Place::new();
    let local = place.local().await;
    let hosts = &["api.example", "login.example"];
    local.add("default", vec![bound("oauth", "value-one", hosts)], Vec::new()).await.unwrap();
    let source = Arc::new(Failing { local: Arc::clone(&local), writes_fail: AtomicUsize::new(0) });
    let vault = Vault::new(vec![Arc::clone(&source) as Arc<dyn Source>], noon);
    let (renewal, next) = (renewal(), |text: &str| Secret::new(text.into()));
    let fail = |times| source.writes_fail.store(times, Ordering::Relaxed);
    // One that fails is tried again within the exchange.
    let shown = vault.open_for_renewal(&renewal).await.unwrap();
    fail(1);
    vault.renew(&renewal, &shown, vec![("token".to_owned(), next("value-two"))]).await.unwrap();
    // One that goes on failing is held; until it is written nothing is shown.
    let shown = vault.open_for_renewal(&renewal).await.unwrap();
    assert!(shown.opened.value("token").unwrap().matches(b"value-two"));
    fail(4);
    let failed = vault.renew(&renewal, &shown, vec![("token".to_owned(), next("value-three"))]).await;
    assert!(matches!(failed, Err(OpenError::Source(..))));
    assert!(matches!(vault.open_for_renewal(&renewal).await, Err(OpenError::Source(..))));
    let shown = vault.open_for_renewal(&renewal).await.unwrap();
    assert!(shown.opened.value("token").unwrap().matches(b"value-three"));
    assert!(vault.is_renewal(1.into(), 3.into(), &secret_ref("oauth")) && shown.opened.version.number == 3);
    // What a person enters meanwhile counts, and what was held is dropped.
    fail(3);
    assert!(vault.renew(&renewal, &shown, vec![("token".to_owned(), next("value-four"))]).await.is_err());
    local.rotate("default", &name("oauth"), change("value-five")).await.unwrap();
    let shown = vault.open_for_renewal(&renewal).await.unwrap();
    assert!(shown.opened.version.number == 4 && shown.opened.value("token").unwrap().matches(b"value-five"));
}

#[tokio::test]
async fn a_directory_takes_no_renewed_value_and_shows_the_void_one_no_more() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("oauth"), "value-one").unwrap();
    let vault = Vault::new(vec![Arc::new(directory::Directory::new(dir.path()))], noon);
    let renewal = renewal();
    let shown = vault.open_for_renewal(&renewal).await.unwrap();
    let refused = vault
        .renew(&renewal, &shown, vec![("token".to_owned(), Secret::new(b"value-two".to_vec()))])
        .await
        .unwrap_err();
    assert!(
        matches!(refused, OpenError::ReadOnly(_)) && refused.to_string().contains("keep it in the vault")
    );
    assert!(matches!(vault.open_for_renewal(&renewal).await, Err(OpenError::ReadOnly(_))));
    std::fs::write(dir.path().join("oauth"), "value-three").unwrap();
    let shown = vault.open_for_renewal(&renewal).await.unwrap();
    assert!(shown.opened.value("token").unwrap().matches(b"value-three"));
}

#[tokio::test]
async fn a_secret_is_opened_for_a_renewal_whichever_target_the_request_had() {
    let place = Place::new();
    let local = place.local().await;
    local.add("default", vec![bound("oauth", "value-one", &["login.example"])], Vec::new()).await.unwrap();
    let vault = Vault::new(vec![Arc::clone(&local) as Arc<dyn Source>], noon);
    let shown = vault.open_for_renewal(&renewal()).await.unwrap();
    // The request itself is refused, each time that it asks.
    let permit = permit("oauth", "api.example:443");
    assert!(matches!(shown.opened.terms.admit(&permit, noon), Err(OpenError::NotBound(_))));
    assert!(matches!(vault.open(&permit).await, Err(OpenError::NotBound(_))));
}
