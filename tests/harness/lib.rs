//! The harness: builders for the proxy, origins and agents.
