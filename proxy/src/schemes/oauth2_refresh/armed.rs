//! What goes onto a request: the token, the account that it is for, and a word in a list that the vendor wants.
//!
//! Refuses nothing of the agent's: its own account is replaced, its own list is kept and added to.

use control::catalog::{Piece, Template};
use control::refusal::{Code, Refusal};
use http::{HeaderName, HeaderValue};

use crate::schemes::header::ArmedHeader;
use crate::schemes::shared::template::{self, Alphabet, plain_into, render, sensitive};
use crate::schemes::shared::{bearer, names};
use crate::schemes::{ArmFault, Armed, BuildError, Outgoing, Rendered, Values};

/// The key of the account.
pub(super) const ACCOUNT: &str = "account_id";

/// A value that has to stand in a header's list.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    name: HeaderName,
    value: HeaderValue,
}

impl Listed {
    /// As `anthropic-beta: oauth-2025-04-20`.
    pub(super) fn parse(text: &str) -> Result<Self, BuildError> {
        let wrong =
            BuildError::Invalid { field: "listed", why: "is not a header and a value: `name: value`" };
        let parts = text.split_once(':').and_then(|(name, value)| {
            let value = value.trim();
            let is_one = !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic() && b != b',');
            Some((names::injectable(name)?, HeaderValue::try_from(value).ok().filter(|_| is_one)?))
        });
        let (name, value) = parts.ok_or(wrong)?;
        Ok(Self { name, value })
    }

    /// Adds it to the agent's list, as one header.
    fn place(&self, out: &mut Outgoing<'_>) -> Result<(), Refusal> {
        let own: Vec<&[u8]> =
            out.head().headers.get_all(&self.name).iter().map(HeaderValue::as_bytes).collect();
        let says =
            |list: &&[u8]| list.split(|&b| b == b',').any(|one| one.trim_ascii() == self.value.as_bytes());
        if own.iter().any(says) {
            return Ok(());
        }
        let mut list = own.iter().filter(|one| !one.trim_ascii().is_empty()).copied().collect::<Vec<_>>();
        list.push(self.value.as_bytes());
        let joined = HeaderValue::try_from(list.join(&b", "[..]));
        let joined = joined.map_err(|_| Refusal::new(Code::Dw2008, "a header's list cannot be added to"))?;
        out.set_header(&self.name, joined)
    }
}

/// The scheme with its token.
#[derive(Debug)]
struct ArmedLogin {
    token: Box<dyn Armed>,
    account: Option<ArmedHeader>,
    listed: Option<Listed>,
}

impl Armed for ArmedLogin {
    fn place(&self, out: &mut Outgoing<'_>) -> Result<(), Refusal> {
        self.token.place(out)?;
        self.account.iter().try_for_each(|account| account.place(out))?;
        self.listed.iter().try_for_each(|listed| listed.place(out))
    }
}

/// Renders all of it.
pub(super) fn arm(
    values: &Values<'_>,
    account: Option<&HeaderName>,
    listed: Option<&Listed>,
) -> Result<Rendered, ArmFault> {
    let Rendered { armed: token, mut echoes } = bearer::arm(values)?;
    let account = match account {
        None => None,
        Some(name) => {
            let id = Template(vec![Piece::Key(ACCOUNT.to_owned())]);
            let value = sensitive(render(&id, values, Alphabet::Header, plain_into)?)?;
            echoes.extend(template::echoes(&id, values)?);
            Some(ArmedHeader { name: name.clone(), value })
        }
    };
    Ok(Rendered { armed: Box::new(ArmedLogin { token, account, listed: listed.cloned() }), echoes })
}
