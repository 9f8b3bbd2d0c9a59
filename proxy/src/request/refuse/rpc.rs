//! A refusal as an MCP client reads it: a JSON-RPC error to each message that waits for an answer.
//!
//! Over streamable HTTP such an error is an answer as any other, so its status is 200: the SDKs end the whole session on
//! others. Who waits on another stream (SSE) can only be told by the status. The code of ours is in `data`.

use control::mcp::{Call, Calls, Id, Transport};
use control::refusal::{Code, Refusal};
use serde_json::{Value, json};

/// JSON-RPC: the message is not valid.
const INVALID: i64 = -32600;
/// From the range for servers' own errors; MCP and its SDKs use -32000 to -32002 and -32042.
const REFUSED: i64 = -32050;

/// Who waits for an answer to a refused POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rpc {
    ids: Vec<Id>,
    is_batch: bool,
    answers_here: bool,
}

impl Rpc {
    /// The messages could not be read, so nobody is known to wait.
    pub(crate) fn unread() -> Self {
        Self { ids: Vec::new(), is_batch: false, answers_here: false }
    }

    /// For these messages.
    pub(crate) fn to(calls: &Calls, transport: Transport) -> Self {
        Self {
            ids: calls.iter().filter_map(Call::waits).cloned().collect(),
            is_batch: calls.is_batch(),
            answers_here: transport == Transport::StreamableHttp,
        }
    }

    pub(super) fn status(&self, refusal: &Refusal) -> u16 {
        if self.answers_here && !self.ids.is_empty() { 200 } else { refusal.status }
    }

    /// The errors; `problem` is the refusal as it is told to all others.
    pub(super) fn errors(&self, refusal: &Refusal, problem: &str, message: &str) -> String {
        let code = if refusal.code == Code::Dw2008 { INVALID } else { REFUSED };
        let data: Value = serde_json::from_str(problem).unwrap_or_default();
        let error = |id: Value| json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message, "data": data}});
        let mut errors: Vec<Value> = self.ids.iter().map(|id| error(id.json())).collect();
        match (errors.pop(), self.is_batch) {
            (Some(last), true) => {
                errors.push(last);
                Value::Array(errors).to_string()
            }
            (Some(only), false) => only.to_string(),
            (None, _) => error(Value::Null).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::{Dialect, response};
    use super::*;

    fn told(body: &str, transport: Transport) -> (u16, Value) {
        let calls = Calls::read(body, &HeaderMap::new()).unwrap();
        let refusal = Refusal::new(Code::Dw1002, "the tool is not allowed").by_rule("policy.mcp (m:3)");
        let answer = response(&refusal, "c1-1", &Dialect::JsonRpc(Rpc::to(&calls, transport)));
        assert_eq!(answer.headers()["content-type"], "application/json");
        (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap())
    }

    #[test]
    fn answers_the_message_that_waits_with_the_code_in_its_data() {
        let call = r#"{"jsonrpc":"2.0","id":"a\"b","method":"ping"}"#;
        let (status, error) = told(call, Transport::StreamableHttp);
        assert_eq!((status, &error["id"]), (200, &"a\"b".into()));
        assert_eq!(error["error"]["data"]["code"], "DW1002");
        assert_eq!(error["error"]["data"]["rule"], "policy.mcp (m:3)");
        assert_eq!(error["error"]["code"], REFUSED);
        assert_eq!(told(call, Transport::Sse).0, 403);
    }

    #[test]
    fn answers_each_message_of_a_batch_that_waits() {
        let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/initialized"},{"jsonrpc":"2.0","id":2,"method":"tools/list"}]"#;
        let (status, errors) = told(batch, Transport::StreamableHttp);
        let ids: Vec<_> = errors.as_array().unwrap().iter().map(|error| error["id"].clone()).collect();
        assert_eq!((status, ids), (200, vec![json!(1), json!(2)]));
    }

    #[test]
    fn tells_by_status_who_waits_for_nothing() {
        for body in [
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        ] {
            let (status, error) = told(body, Transport::StreamableHttp);
            assert_eq!((status, &error["id"]), (403, &Value::Null), "{body}");
        }
    }
}
