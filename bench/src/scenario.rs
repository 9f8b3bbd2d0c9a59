//! The questions that are asked, one table. A scenario names the load; a `Size` says how much of it, so that CI's smoke and a full
//! measurement run the same code.

use crate::load::Protocol;
use crate::load::Protocol::{H1, H2};
use std::time::Duration;

/// One question.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Name on the command line and in the history.
    pub name: &'static str,
    /// What it measures.
    pub question: &'static str,
    /// Spoken on both sides of the proxy.
    pub protocol: Protocol,
    /// The load.
    pub shape: Shape,
}

/// The load of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Small requests on open connections, as fast as they are answered.
    KeepAlive {
        /// Connections.
        sessions: usize,
        /// Requests in flight on each.
        streams: usize,
        /// A 1 KiB body each way instead of a GET.
        echo: bool,
    },
    /// CONNECT, TLS and one request, each on a new connection.
    NewConnection,
    /// The same to hosts that the proxy has never seen.
    ColdHost,
    /// Small requests at a fixed rate.
    Paced {
        /// Requests in a second.
        per_second: u32,
    },
    /// Large downloads, one after the other.
    Download,
    /// Large uploads.
    Upload,
    /// Server-sent events.
    Events,
    /// Memory of tunnels that do nothing.
    Idle,
    /// Memory over very many requests.
    Flat,
}

const fn keep_alive(sessions: usize, streams: usize, echo: bool) -> Shape {
    Shape::KeepAlive { sessions, streams, echo }
}

/// All scenarios, in the order of the table.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "keepalive-h1",
        question: "CPU per small GET, 32 open HTTP/1.1 connections, closed loop",
        protocol: H1,
        shape: keep_alive(32, 1, false),
    },
    Scenario {
        name: "keepalive-h2",
        question: "CPU per small GET, 4 open h2 connections of 8 streams, closed loop",
        protocol: H2,
        shape: keep_alive(4, 8, false),
    },
    Scenario {
        name: "echo-h1",
        question: "CPU per POST of 1 KiB that is echoed, 32 connections",
        protocol: H1,
        shape: keep_alive(32, 1, true),
    },
    Scenario {
        name: "new-h1",
        question: "TCP + CONNECT + full TLS handshake + first answer, warm leaf, pooled upstream, one at a time",
        protocol: H1,
        shape: Shape::NewConnection,
    },
    Scenario { name: "new-h2", question: "the same over h2", protocol: H2, shape: Shape::NewConnection },
    Scenario {
        name: "cold-host",
        question: "the same to hosts that were never seen: mint and upstream handshake included",
        protocol: H1,
        shape: Shape::ColdHost,
    },
    Scenario {
        name: "rate-h1",
        question: "latency at 200 requests/s from the intended start, 16 connections",
        protocol: H1,
        shape: Shape::Paced { per_second: 200 },
    },
    Scenario {
        name: "rate-h2",
        question: "the same over h2",
        protocol: H2,
        shape: Shape::Paced { per_second: 200 },
    },
    Scenario {
        name: "download-h1",
        question: "CPU per GiB, 64 MiB bodies to the agent",
        protocol: H1,
        shape: Shape::Download,
    },
    Scenario { name: "download-h2", question: "the same over h2", protocol: H2, shape: Shape::Download },
    Scenario {
        name: "upload-h1",
        question: "CPU per GiB, 64 MiB bodies from the agent",
        protocol: H1,
        shape: Shape::Upload,
    },
    Scenario { name: "upload-h2", question: "the same over h2", protocol: H2, shape: Shape::Upload },
    Scenario {
        name: "sse-h1",
        question: "delay of each server-sent event from the origin's write to the agent's read",
        protocol: H1,
        shape: Shape::Events,
    },
    Scenario { name: "sse-h2", question: "the same over h2", protocol: H2, shape: Shape::Events },
    Scenario {
        name: "idle-h1",
        question: "resident memory at rest, and per idle intercepted HTTP/1.1 connection",
        protocol: H1,
        shape: Shape::Idle,
    },
    Scenario { name: "idle-h2", question: "the same over h2", protocol: H2, shape: Shape::Idle },
    Scenario {
        name: "flat-h1",
        question: "growth of resident memory from the first tenth to the end of very many requests",
        protocol: H1,
        shape: Shape::Flat,
    },
];

/// The scenario of that name.
pub fn by_name(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

/// How much load.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Longest measured part of a loop.
    pub seconds: Duration,
    /// Most requests in a loop.
    pub requests: u64,
    /// Requests before the measured part.
    pub warmup: u64,
    /// MiB of a large body.
    pub mebibytes: u64,
    /// Large bodies in a round.
    pub bodies: u64,
    /// Idle tunnels.
    pub tunnels: usize,
    /// Hosts that were never seen.
    pub cold_hosts: usize,
    /// Server-sent events, 5 ms apart.
    pub events: u64,
    /// Requests of the flatness run.
    pub flat: u64,
    /// How long tunnels rest before their memory is read.
    pub rest: Duration,
}

impl Size {
    /// For numbers.
    pub const FULL: Self = Self {
        seconds: Duration::from_secs(3),
        requests: u64::MAX,
        warmup: 2_000,
        mebibytes: 64,
        bodies: 8,
        tunnels: 500,
        cold_hosts: 100,
        events: 400,
        flat: 1_000_000,
        rest: Duration::from_secs(3),
    };

    /// To see that everything runs.
    pub const SMOKE: Self = Self {
        seconds: Duration::from_millis(300),
        requests: 64,
        warmup: 32,
        mebibytes: 1,
        bodies: 1,
        tunnels: 8,
        cold_hosts: 4,
        events: 10,
        flat: 200,
        rest: Duration::from_millis(50),
    };
}
