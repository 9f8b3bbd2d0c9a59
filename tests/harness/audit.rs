//! Reading the audit file from outside, and recomputing its chain with nothing but SHA-256.

use std::path::PathBuf;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::within::eventually;

/// The audit file of one proxy.
#[derive(Clone, Debug)]
pub struct Audit {
    path: PathBuf,
}

impl Audit {
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// The complete lines so far.
    pub fn lines(&self) -> Vec<Value> {
        self.text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The file's text; a device (`/dev/full`) has none.
    pub fn text(&self) -> String {
        if !self.path.is_file() {
            return String::new();
        }
        std::fs::read(&self.path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The first line that satisfies `wanted`, waiting for the writer's next batch.
    pub async fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("audit line: {what}\n{}", self.text()), crate::within::DEADLINE, || {
            self.lines().into_iter().find(|line| wanted(line))
        })
        .await
    }

    /// The closing record of the first request with this path.
    pub async fn request(&self, path: &str) -> Value {
        self.wait_for(path, |line| line["kind"] == "request" && line["path"] == path).await
    }

    /// The first record with this code.
    pub async fn code(&self, code: &str) -> Value {
        self.wait_for(code, |line| line["code"] == code).await
    }

    /// What is wrong with the chain, if something is.
    pub fn broken(&self) -> Option<String> {
        broken(&self.text())
    }
}

/// `hash` is SHA-256 over the bytes of the line before the `hash` key; `prev` is the hash of the line before; `seq` counts by one.
pub fn broken(text: &str) -> Option<String> {
    let mut previous: Option<(u64, String)> = None;
    for (n, line) in text.lines().enumerate() {
        let Ok(record) = serde_json::from_str::<Value>(line) else {
            return Some(format!("line {} is not JSON", n + 1));
        };
        let (Some(seq), Some(hash)) = (record["seq"].as_u64(), record["hash"].as_str()) else {
            return Some(format!("line {} has no seq or hash", n + 1));
        };
        let Some(at) = line.rfind(",\"hash\":") else {
            return Some(format!("line {}: hash is not a key of the object", n + 1));
        };
        if !line[at..].ends_with(&format!("\"{hash}\"}}")) {
            return Some(format!("line {}: hash is not the last key", n + 1));
        }
        if hex::encode(Sha256::digest(&line.as_bytes()[..at])) != hash {
            return Some(format!("line {}: the hash is not that of the line", n + 1));
        }
        if let Some((seq_before, hash_before)) = previous {
            if record["prev"] != hash_before.as_str() {
                return Some(format!("line {}: prev is not the hash of the line before", n + 1));
            }
            if seq != seq_before + 1 {
                return Some(format!("line {}: seq {seq} after {seq_before}", n + 1));
            }
        }
        previous = Some((seq, hash.to_owned()));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(bodies: &[&str]) -> String {
        let (mut prev, mut text) = ("0".repeat(64), String::new());
        for (seq, body) in bodies.iter().enumerate() {
            let head = format!("{{\"seq\":{seq},\"prev\":\"{prev}\",\"path\":\"{body}\"");
            prev = hex::encode(Sha256::digest(head.as_bytes()));
            text.push_str(&format!("{head},\"hash\":\"{prev}\"}}\n"));
        }
        text
    }

    #[test]
    fn a_changed_missing_or_reordered_line_breaks_the_chain() {
        let good = chain(&["/a", "/b", "/c"]);
        assert_eq!(broken(&good), None);
        assert!(broken(&good.replace("/b", "/x")).unwrap().contains("line 2"));
        let lines: Vec<_> = good.lines().collect();
        assert!(broken(&[lines[0], lines[2]].join("\n")).unwrap().contains("prev"));
        assert!(broken(&[lines[1], lines[0]].join("\n")).unwrap().contains("prev"));
    }
}
