//! Every bound of the server, with its reason; one table from which `--limit`, `--print-limits` and the docs follow.

use std::fmt::Write as _;
use std::time::Duration;

/// How long a body may take until it is whole.
pub(crate) const BODY_TIME: Duration = Duration::from_secs(30);
/// How long a head may take once the connection is there.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a TLS handshake may take.
pub(crate) const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How often a stream of changes says that it is alive.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);
/// What a page of a list has without `limit`, and at most.
pub(crate) const PAGE: u32 = 100;
/// See [`PAGE`].
pub(crate) const PAGE_MOST: u32 = 1000;

/// Why a `--limit NAME=VALUE` was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// No limit of that name.
    #[error("there is no limit `{0}`; `doorward server --print-limits` shows them all")]
    Unknown(String),
    /// Not `NAME=VALUE`.
    #[error("a limit is written NAME=VALUE, VALUE a number")]
    Form,
    /// The value is outside of what is safe.
    #[error("`{0}` must be from {1} to {2}")]
    Range(&'static str, u64, u64),
}

macro_rules! limits {
    ($($field:ident $name:literal $default:literal [$low:literal, $high:literal] $reason:literal;)*) => {
        /// The bounds that an operator may set.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits {
            $(#[doc = $reason] pub $field: u64,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl Limits {
            /// Takes one `NAME=VALUE`.
            ///
            /// # Errors
            /// An unknown name, no number, or one out of its range.
            pub fn set(&mut self, text: &str) -> Result<(), LimitError> {
                let (name, value) = text.split_once('=').ok_or(LimitError::Form)?;
                let value: u64 = value.trim().parse().map_err(|_| LimitError::Form)?;
                match name.trim() {
                    $($name if !($low..=$high).contains(&value) => Err(LimitError::Range($name, $low, $high)),
                    $name => { self.$field = value; Ok(()) })*
                    other => Err(LimitError::Unknown(other.to_owned())),
                }
            }

            /// A line for each: `name=value  # reason`.
            pub fn print(&self) -> String {
                let mut text = String::new();
                for (name, value, reason) in [$(($name, self.$field, $reason)),*] {
                    // Writing to a String cannot fail.
                    if writeln!(text, "{:<28} # {reason}", format!("{name}={value}")).is_err() {
                        text.clear();
                    }
                }
                text
            }
        }
    };
}

limits! {
    token_calls "token-calls" 100 [1, 1_000_000] "calls of one token in a second, after its burst; over it: DW6014";
    token_burst "token-burst" 500 [1, 1_000_000] "calls of one token at once";
    failed_logins "failed-logins" 10 [1, 1_000_000] "calls without a valid token from one address in a second; over it: DW6014";
    login_minutes "login-minutes" 720 [5, 720] "how long the token that a login gives is good for";
    connections "connections" 4_096 [1, 1_000_000] "connections of all clients together, sidecars among them";
    connections_per_address "connections-per-address" 2_048 [1, 1_000_000] "connections of one address";
    watches "watches" 1_024 [1, 1_000_000] "streams of changes (`?watch=true`) together";
    watches_per_token "watches-per-token" 16 [1, 1_000_000] "streams of changes of one token";
    audit_checkpoint_lines "audit-checkpoint-lines" 1_000 [1, 1_000_000] "records of a chain after which where it stands is signed";
    audit_checkpoint_seconds "audit-checkpoint-seconds" 900 [5, 604_800] "how long a record waits at most until it is signed";
    drain_seconds "drain-seconds" 30 [0, 86_400] "how long calls in flight may take at SIGTERM";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_unknown_limits_and_values_out_of_range() {
        let mut limits = Limits::default();
        for text in ["x=1", "token-calls", "token-calls=0", "token-calls=-1", "token-calls=a", "=1"] {
            assert!(limits.set(text).is_err(), "{text}");
        }
        assert_eq!(limits, Limits::default());
        limits.set("token-calls=7").unwrap();
        assert!(limits.print().starts_with("token-calls=7 "));
    }
}
