//! Every bound of the data plane, with its reason; one table from which `--limit`, `--print-limits` and the docs follow.
//!
//! Times are in milliseconds here and written with a unit on the command line (`10s`, `20ms`); sizes take `KiB` and `MiB`.

pub(crate) mod held;
pub(crate) mod rate;

use std::fmt::Write as _;
use std::time::Duration;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Milliseconds.
    Time,
    /// Bytes.
    Size,
    /// Things.
    Count,
}

/// Why a `--limit NAME=VALUE` was not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LimitError {
    /// No limit of that name.
    #[error("there is no limit `{0}`{1}; `doorward proxy --print-limits` shows them all")]
    Unknown(String, String),
    /// Not `NAME=VALUE`.
    #[error("a limit is written NAME=VALUE")]
    Form,
    /// The value is not of the limit's unit.
    #[error("`{0}` takes {1}")]
    Value(&'static str, &'static str),
    /// The value is outside of what is safe.
    #[error("`{0}` must be from {1} to {2}")]
    Range(&'static str, u64, u64),
}

macro_rules! limits {
    ($($field:ident $name:literal $unit:ident $default:literal [$low:literal, $high:literal] $reason:literal;)*) => {
        /// All limits, fixed at start.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) struct Limits {
            $(#[doc = $reason] pub(crate) $field: u64,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        /// Name, unit, default and reason of every limit, in SECURITY.md's order.
        pub(crate) const TABLE: &[(&str, Unit, u64, &str)] = &[$(($name, Unit::$unit, $default, $reason),)*];

        impl Limits {
            /// Takes one `NAME=VALUE`.
            pub(crate) fn set(&mut self, text: &str) -> Result<(), LimitError> {
                let (name, value) = text.split_once('=').ok_or(LimitError::Form)?;
                match name.trim() {
                    $($name => self.$field = read($name, Unit::$unit, value.trim(), $low, $high)?,)*
                    other => return Err(unknown(other)),
                }
                Ok(())
            }

            fn values(&self) -> [u64; TABLE.len()] {
                [$(self.$field,)*]
            }
        }
    };
}

limits! {
    connect_head "connect-head" Time 10_000 [100, 600_000] "how long a client may take for the head of CONNECT";
    tls_handshake "tls-handshake" Time 10_000 [100, 600_000] "one deadline for ClientHello and handshake with the agent";
    request_head "request-head" Time 15_000 [100, 600_000] "how long a request head may take once its first byte is there";
    upstream_dns "upstream-dns" Time 2_000 [10, 600_000] "one look-up, all its retries together";
    upstream_connect "upstream-connect" Time 5_000 [10, 600_000] "all addresses of the host together";
    upstream_tls "upstream-tls" Time 10_000 [10, 600_000] "the handshake with the upstream";
    upstream_first_byte "upstream-first-byte" Time 300_000 [10, 86_400_000] "from the request to the answer's head: language models think long";
    token_exchange "token-exchange" Time 20_000 [100, 600_000] "one exchange of a secret for a token, from the dial to the end of the answer";
    stream_idle "stream-idle" Time 300_000 [10, 86_400_000] "a body in which nothing moves";
    pool_idle "pool-idle" Time 30_000 [10, 3_600_000] "an upstream connection without a request: most servers close after 60 s";
    tunnel_idle "tunnel-idle" Time 600_000 [10, 86_400_000] "a tunnel without a request, or one that is passed through or a WebSocket without a byte either way";
    tunnel_write "tunnel-write" Time 60_000 [10, 3_600_000] "a write into a WebSocket, or into a tunnel that is passed through, of which nothing is taken";
    expect_wait "expect-wait" Time 1_000 [1, 60_000] "how long a body waits for the upstream's 100 (RFC 9110 section 10.1.1)";
    header_bytes "header-bytes" Size 65_536 [8_192, 1_048_576] "a message head, either way";
    header_fields "header-fields" Count 100 [10, 1_000] "fields of a message head, either way";
    url_bytes "url-bytes" Size 16_384 [1_024, 65_536] "the request target";
    buffered_body "buffered-body" Size 10_485_760 [1_024, 1_073_741_824] "a body that has to be held whole (body injection, AWS' signatures); streamed bodies have no cap";
    form_body "form-body" Size 1_048_576 [1_024, 33_554_432] "a form that says what its request does (AWS' query protocol; the parameters of a call of GraphQL or Slack, where they decide something): it is held before policy is asked; SQS and SNS take 1 MiB at most, SES' SendRawEmail takes messages of 10 MB, some 15 MiB as a form: raise it for those";
    mcp_message "mcp-message" Size 4_194_304 [1_024, 67_108_864] "a message for an MCP server, and an answer or event of one whose tools are limited: held before it is judged";
    model_body "model-body" Size 10_485_760 [1_024, 268_435_456] "a request to a model provider that limits models or tokens, or retries: it is held; Anthropic takes 32 MiB, many such requests at once are memory";
    agent_held_bodies "agent-held-bodies" Size 134_217_728 [1_048_576, 68_719_476_736] "bodies of one agent that are held whole (`buffered-body`, `form-body`, `mcp-message`, `model-body`), and what is held of MCP servers' answers to it, until the upstream has them: any call of AWS but S3's is one; over it: DW1009";
    held_bodies "held-bodies" Size 536_870_912 [1_048_576, 68_719_476_736] "the same of all agents together; over it: DW2013";
    held_body_time "held-body-time" Time 120_000 [100, 86_400_000] "how long a body, an answer or an event that is held may take until it is whole";
    replay_body "replay-body" Size 65_536 [0, 1_048_576] "a body that is kept for the one retry";
    interim_answers "interim-answers" Count 8 [0, 100] "1xx answers to one request";
    h2_streams "h2-streams" Count 100 [1, 10_000] "streams of one connection, either way";
    h2_stream_window "h2-stream-window" Size 262_144 [65_535, 16_777_216] "flow control of one stream";
    h2_connection_window "h2-connection-window" Size 1_048_576 [65_535, 67_108_864] "flow control of one connection";
    h2_pending_resets "h2-pending-resets" Count 20 [1, 1_000] "streams reset before we looked at them (CVE-2023-44487)";
    h2_local_resets "h2-local-resets" Count 256 [1, 10_000] "resets that a peer's errors may make us send (CVE-2025-8671)";
    agent_tunnels "agent-tunnels" Count 512 [1, 1_000_000] "connections of one agent";
    unidentified "unidentified-connections" Count 512 [1, 1_000_000] "connections that have not said yet whose they are";
    agent_requests "agent-requests" Count 256 [1, 1_000_000] "requests of one agent in flight";
    agent_mints "agent-mints" Count 50 [1, 10_000] "leaves minted for one agent in a second";
    denied_mints "denied-mints" Count 10 [1, 10_000] "leaves minted for denied hosts in a second, so that denials cannot starve allowed hosts";
    upstream_connections "upstream-connections" Count 1_024 [1, 100_000] "connections to one upstream, for each worker";
    upstream_in_flight "upstream-in-flight" Count 1_024 [1, 100_000] "requests to one upstream, for each worker";
    upstream_wait "upstream-wait" Time 3_000 [1, 600_000] "how long a request waits for a place before 503";
    leaf_cache "leaf-cache" Count 1_024 [1, 100_000] "leaves kept for allowed hosts";
    denied_leaf_cache "denied-leaf-cache" Count 128 [1, 100_000] "leaves kept for denied hosts";
    agent_exchanges "agent-exchanges" Count 16 [1, 10_000] "exchanges of secrets for tokens in flight that one agent's requests began; over it: DW1009";
    provider_exchanges "provider-exchanges" Count 64 [1, 10_000] "the same for one use of a provider's secret, whichever agents began them; over it: DW2013";
    agent_token_parts "agent-token-parts" Count 120 [1, 100_000] "repositories or sessions in a minute for which an agent's requests have a token of their own made; over it: DW1009";
    agent_asks "agent-asks" Count 120 [1, 100_000] "requests of one agent in a minute that a person is asked about, or was; over it: DW1009";
    audit_ring "audit-ring" Count 8_192 [16, 1_000_000] "records that wait for the audit writer; none free: DW5003";
    audit_spool "audit-spool" Size 268_435_456 [65_536, 1_099_511_627_776] "audit lines that the control server (`--control`) has not taken yet; over it: DW5003";
    audit_open_after "audit-open-after" Time 5_000 [100, 600_000] "an exchange that lasts longer writes an `open` line first";
    decoded_bytes "decoded-bytes" Size 67_108_864 [1_024, 4_294_967_296] "a coded answer, decoded";
    decoded_ratio "decoded-ratio" Count 100 [2, 100_000] "decoded to coded bytes";
    decoder_windows "decoder-windows" Size 536_870_912 [16_777_216, 68_719_476_736] "what the decoders of all coded answers in flight look back at together";
    drain "drain" Time 30_000 [0, 86_400_000] "what is in flight at SIGTERM";
}

/// Lanes that a worker keeps for the next requests, some 6 KiB each: as many as are in use at once where load is high and
/// steady.
pub(crate) const RESTING_LANES: usize = 64;

fn unknown(name: &str) -> LimitError {
    let near = TABLE
        .iter()
        .map(|row| (strsim::levenshtein(name, row.0), row.0))
        .min()
        .filter(|(distance, _)| *distance <= 4)
        .map_or_else(String::new, |(_, near)| format!("; did you mean `{near}`?"));
    LimitError::Unknown(name.to_owned(), near)
}

fn read(name: &'static str, unit: Unit, text: &str, low: u64, high: u64) -> Result<u64, LimitError> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let suffix = text.get(digits.len()..).unwrap_or_default();
    let (scale, takes) = match unit {
        Unit::Time => (time_scale(suffix), "a time such as `500ms`, `10s` or `5m`"),
        Unit::Size => (size_scale(suffix), "a size such as `4096`, `64KiB` or `10MiB`"),
        Unit::Count => (suffix.is_empty().then_some(1), "a whole number"),
    };
    let number: Option<u64> = digits.parse().ok();
    let value = number
        .zip(scale)
        .and_then(|(number, scale)| number.checked_mul(scale))
        .ok_or(LimitError::Value(name, takes))?;
    if (low..=high).contains(&value) { Ok(value) } else { Err(LimitError::Range(name, low, high)) }
}

/// `--max-stale`: from twice the time between two signs of life, to a week.
pub(crate) fn max_stale(text: &str) -> Result<Duration, LimitError> {
    read("max-stale", Unit::Time, text, 20_000, 7 * 24 * 3_600_000).map(time)
}

fn time_scale(suffix: &str) -> Option<u64> {
    match suffix {
        "ms" => Some(1),
        "s" | "" => Some(1_000),
        "m" | "min" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    }
}

fn size_scale(suffix: &str) -> Option<u64> {
    match suffix {
        "" | "B" => Some(1),
        "KiB" | "K" | "k" => Some(1 << 10),
        "MiB" | "M" => Some(1 << 20),
        "GiB" | "G" => Some(1 << 30),
        _ => None,
    }
}

/// Parts of what one secret opens (repositories, sessions) that have a token at once.
pub(crate) const TOKEN_PARTS: usize = 256;

/// Parts of which earlier tokens are remembered; more than have a token at once.
pub(crate) const SOUGHT_PARTS: usize = 512;

/// The longest file with a subject token.
pub(crate) const SUBJECT_FILE: usize = 64 << 10;

/// How long a refused client may read its answer before the connection is cut.
pub(crate) const LINGER: Duration = Duration::from_millis(500);

/// How long a client of the admin port may take for a head: they are probes on the same host.
pub(crate) const ADMIN_HEAD: Duration = Duration::from_secs(5);

/// A limit of unit [`Unit::Time`] as a duration.
pub(crate) fn time(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A limit as the `usize` that most interfaces want.
pub(crate) fn count(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// A limit as the `u32` that HTTP/2 settings want.
pub(crate) fn count32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

impl Limits {
    /// What `--print-limits` shows: a line for each limit, as `--limit` takes it.
    pub(crate) fn print(&self) -> String {
        let mut text = String::new();
        for ((name, unit, _, reason), value) in TABLE.iter().zip(self.values()) {
            let value = match unit {
                Unit::Time => format!("{value}ms"),
                Unit::Size | Unit::Count => value.to_string(),
            };
            // Writing to a String cannot fail.
            if writeln!(text, "{name}={value:<12} # {reason}").is_err() {
                break;
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_unknown_names_and_values_outside_their_range() {
        let mut limits = Limits::default();
        assert!(
            matches!(limits.set("drian=1s"), Err(LimitError::Unknown(_, near)) if near.contains("`drain`"))
        );
        assert_eq!(limits.set("drain"), Err(LimitError::Form));
        assert!(matches!(limits.set("drain=fast"), Err(LimitError::Value(..))));
        assert!(matches!(limits.set("h2-streams=1s"), Err(LimitError::Value(..))));
        assert!(matches!(limits.set("url-bytes=1"), Err(LimitError::Range(..))));
        assert!(matches!(limits.set("url-bytes=99999999999999999999KiB"), Err(LimitError::Value(..))));
        assert_eq!(limits, Limits::default());
    }

    #[test]
    fn what_is_printed_reads_back() {
        let mut limits = Limits::default();
        limits.set("url-bytes=8KiB").unwrap();
        limits.set("stream-idle=2m").unwrap();
        let mut again = Limits::default();
        for line in limits.print().lines() {
            let (setting, _) = line.split_once('#').unwrap();
            again.set(setting).unwrap();
        }
        assert_eq!(again, limits);
    }
}
