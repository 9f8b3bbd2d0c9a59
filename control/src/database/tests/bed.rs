//! A database to test on, and short ways to fill it.

use std::sync::Arc;

use crate::database::{Database, DatabaseUrl};
use crate::registry::{
    Act, DocumentKind, NewAgent, NewDocument, NewProject, NewToken, ObjectKind, ObjectRef, Page,
    ProjectSettings, Registry, Role, Seen, TokenDigest,
};
use crate::secret::{Secret, SecretName};
use crate::vault::local::{Entry, LocalVault};
use crate::vault::master::KeySource;
use time::OffsetDateTime;

use super::postgres::Postgres;

/// A database with the projects `one` and `two`.
pub(super) struct Bed {
    pub(super) url: String,
    pub(super) db: Database,
    pub(super) dir: tempfile::TempDir,
    pub(super) server: Option<Arc<Postgres>>,
}

impl Bed {
    pub(super) async fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("server.db").display());
        Self::at(url, dir, None).await
    }

    pub(super) async fn postgres() -> Self {
        Self::on(Postgres::shared()).await
    }

    pub(super) async fn on(server: Arc<Postgres>) -> Self {
        let url = server.database();
        Self::at(url, tempfile::tempdir().unwrap(), Some(server)).await
    }

    async fn at(url: String, dir: tempfile::TempDir, server: Option<Arc<Postgres>>) -> Self {
        let db = open(&url).await;
        for name in ["one", "two"] {
            db.add_project(project(name), now()).await.unwrap();
        }
        Self { url, db, dir, server }
    }

    /// The same database as another process would open it.
    pub(super) async fn again(&self) -> Database {
        open(&self.url).await
    }

    /// What somebody does who has the database.
    pub(super) async fn sql(&self, sql: &'static str) {
        match &self.server {
            Some(server) => {
                server.sql(&self.url, sql);
            }
            None => {
                use sqlx::{ConnectOptions, Connection};
                let path = self.url.strip_prefix("sqlite:").unwrap();
                let options =
                    sqlx::sqlite::SqliteConnectOptions::new().filename(path).disable_statement_logging();
                let mut link = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
                sqlx::query(sql).execute(&mut link).await.unwrap();
            }
        }
    }

    pub(super) fn key(&self) -> KeySource {
        KeySource::File(self.dir.path().join("master.key"))
    }

    pub(super) async fn vault(&self) -> LocalVault {
        LocalVault::unlock(Arc::new(self.db.clone()), &self.key(), noon).await.unwrap()
    }

    pub(super) async fn add_secret(&self, project: &str, secret: &str) {
        self.vault().await.add(project, vec![entry(secret, "value-of-a-secret")], vec![]).await.unwrap();
    }
}

pub(super) async fn open(url: &str) -> Database {
    Database::open(&url.parse::<DatabaseUrl>().unwrap()).await.unwrap()
}

pub(super) fn noon() -> OffsetDateTime {
    time::macros::datetime!(2030-01-01 12:00 UTC)
}

pub(super) fn now() -> Act {
    Act::at(noon().unix_timestamp())
}

pub(super) fn project(name: &str) -> NewProject {
    NewProject { name: name.to_owned(), description: None, settings: ProjectSettings::default() }
}

pub(super) fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

pub(super) fn entry(secret: &str, value: &str) -> Entry {
    Entry { name: name(secret), description: None, expires: None, hosts: None, values: values(value) }
}

pub(super) fn values(value: &str) -> Vec<(String, Secret)> {
    vec![("token".to_owned(), Secret::new(value.into()))]
}

pub(super) fn provider(name: &str, uses: &[&str], claims: &[&str]) -> NewDocument {
    NewDocument {
        kind: DocumentKind::Provider,
        name: name.to_owned(),
        text: format!("kind: Provider # {name}"),
        type_name: "github".to_owned(),
        uses: uses.iter().map(|secret| secret.parse().unwrap()).collect(),
        claims: claims.iter().map(|claim| (*claim).to_owned()).collect(),
        withheld: false,
    }
}

pub(super) fn digest(text: &str) -> TokenDigest {
    use sha2::Digest;
    TokenDigest(sha2::Sha256::digest(text).into())
}

pub(super) fn agent(name: &str) -> NewAgent {
    NewAgent {
        name: name.to_owned(),
        description: None,
        digest: digest(name),
        expires: None,
        identities: vec![],
    }
}

pub(super) fn token(id: &str, project: Option<&str>) -> NewToken {
    NewToken {
        id: id.to_owned(),
        name: format!("name of {id}"),
        digest: digest(id),
        project: project.map(str::to_owned),
        role: Role::Manager,
        expires: None,
        person: None,
    }
}

pub(super) fn object(kind: ObjectKind, name: &str) -> ObjectRef {
    ObjectRef { kind, name: name.to_owned() }
}

pub(super) fn all() -> Page {
    Page { after: None, limit: 1000 }
}

pub(super) const ANY: Seen = Seen::Any;
