//! `doorward get cards` and `doorward describe card`: what a project of a server has of each built-in provider type.

use clap::Args;

use super::listing::{Item, Listing, describe};
use super::objects::{needed, object, or_dash};
use super::remote::segment;
use super::vault::{block_on, not_found, project};
use super::{Env, Exit, Failure};
use crate::api::{Card, CardProvider, Cards as Found};

/// Which cards.
#[derive(Args, Clone, Debug)]
pub struct Cards {
    /// Only these types; all if none is given.
    pub names: Vec<String>,
    /// Only types that are connected.
    #[arg(long)]
    connected: bool,
}

/// Which card.
#[derive(Args, Clone, Debug)]
pub struct OneCard {
    /// The type.
    pub name: String,
}

fn all(env: &Env) -> Result<Vec<Card>, Failure> {
    let client = needed(env, "provider cards")?;
    let path = format!("/v1/projects/{}/provider-cards", segment(project(env)?));
    let found: Found = block_on(async { client.get(&path).await?.read() })?;
    Ok(found.items)
}

fn missing(name: &str, cards: &[Card]) -> Failure {
    not_found("type", name, cards.iter().map(|card| card.r#type.name.as_str()))
}

/// What the providers of a card say, each once.
fn joined(card: &Card, of: impl Fn(&CardProvider) -> Vec<String>) -> String {
    let mut words: Vec<String> = card.providers.iter().flat_map(of).collect();
    words.sort_unstable();
    words.dedup();
    if words.is_empty() { "-".to_owned() } else { words.join(",") }
}

impl Cards {
    pub(super) fn listing(&self, env: &Env) -> Result<Listing, Failure> {
        let mut cards = all(env)?;
        let is_there = |name: &&String| !cards.iter().any(|card| card.r#type.name == **name);
        if let Some(name) = self.names.iter().find(is_there) {
            return Err(missing(name, &cards));
        }
        cards.retain(|card| {
            let is_wanted = self.names.is_empty() || self.names.contains(&card.r#type.name);
            is_wanted && (card.connected || !self.connected)
        });
        let item = |card: Card| {
            let one = |text: Option<&String>| text.cloned().into_iter().collect();
            Ok(Item {
                name: card.r#type.name.clone(),
                cells: vec![
                    card.r#type.name.clone(),
                    if card.connected { "yes" } else { "no" }.to_owned(),
                    joined(&card, |provider| vec![provider.name.clone()]),
                    joined(&card, |provider| provider.agents.clone()),
                    joined(&card, |provider| one(provider.verified.as_ref())),
                    joined(&card, |provider| one(provider.expires.as_ref())),
                    joined(&card, |provider| one(provider.last_used.as_ref())),
                ],
                object: object(&card)?,
            })
        };
        let items: Result<Vec<_>, Failure> = cards.into_iter().map(item).collect();
        let columns = &["TYPE", "CONNECTED", "PROVIDERS", "AGENTS", "VERIFIED", "EXPIRES", "LAST USED"];
        Ok(Listing { kind: "card", columns, wide_from: 5, items: items? })
    }
}

impl OneCard {
    pub(super) fn run(&self, env: &Env) -> Result<Exit, Failure> {
        let cards = all(env)?;
        let card = cards.iter().find(|card| card.r#type.name == self.name);
        let card = card.ok_or_else(|| missing(&self.name, &cards))?;
        let mut lines = vec![
            ("Type", card.r#type.name.clone()),
            ("Summary", card.r#type.summary.clone()),
            ("Connected", if card.connected { "yes" } else { "no" }.to_owned()),
        ];
        for provider in &card.providers {
            let by = provider.verified_by.as_ref().map(|who| format!(" by {who}")).unwrap_or_default();
            lines.push(("Provider", provider.name.clone()));
            lines.push(("  Kind", provider.kind.clone()));
            lines.push(("  Auth", or_dash(provider.auth.as_ref())));
            lines.push(("  Secrets", provider.secrets.join(", ")));
            lines.push(("  Withheld", if provider.withheld { "yes" } else { "no" }.to_owned()));
            lines.push(("  Verified", format!("{}{by}", or_dash(provider.verified.as_ref()))));
            lines.push(("  Expires", provider.expires.clone().unwrap_or_else(|| "never".to_owned())));
            lines.push(("  Last used", or_dash(provider.last_used.as_ref())));
            let agents = provider.agents.join(", ");
            lines.push(("  Agents", if agents.is_empty() { "-".to_owned() } else { agents }));
        }
        describe(env, &format!("card/{}", card.r#type.name), &lines, &object(card)?)
    }
}
