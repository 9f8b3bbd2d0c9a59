//! Twilio: Basic on each of its products' hosts; requests are judged by `httpRules`.
//!
//! The account sid is no secret and lies in the path (`/2010-04-01/Accounts/AC…/Messages.json`), so the agent has to hold the
//! real one; rules on such paths keep an agent to one account.

use super::shapes::{API_KEY, BY_RULES, ok};
use super::{AuthSpec, InjectionSpec, TypeSpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "twilio",
    summary: "Twilio: Basic with the secret's `account_sid` and `auth_token` (`basic`), or `api_key_sid` and `api_key_secret` (`api-key`). The account sid is part of paths, so give the agent the real one as `TWILIO_ACCOUNT_SID`.",
    hosts: &[
        "api.twilio.com",
        "accounts.twilio.com",
        "assistants.twilio.com",
        "bulkexports.twilio.com",
        "chat.twilio.com",
        "content.twilio.com",
        "conversations.twilio.com",
        "events.twilio.com",
        "flex-api.twilio.com",
        "frontline-api.twilio.com",
        "iam.twilio.com",
        "insights.twilio.com",
        "intelligence.twilio.com",
        "ip-messaging.twilio.com",
        "lookups.twilio.com",
        "marketplace.twilio.com",
        "messaging.twilio.com",
        "monitor.twilio.com",
        "notify.twilio.com",
        "numbers.twilio.com",
        "preview.twilio.com",
        "pricing.twilio.com",
        "proxy.twilio.com",
        "routes.twilio.com",
        "serverless.twilio.com",
        "studio.twilio.com",
        "supersim.twilio.com",
        "sync.twilio.com",
        "taskrouter.twilio.com",
        "trunking.twilio.com",
        "trusthub.twilio.com",
        "verify.twilio.com",
        "video.twilio.com",
        "voice.twilio.com",
        "wireless.twilio.com",
    ],
    auth: &[
        AuthSpec {
            name: "basic",
            keys: &["auth_token", "token"],
            injections: &[InjectionSpec {
                hosts: &[],
                key: "basic",
                fields: &[("username", "{{account_sid}}"), ("password", "{{token}}")],
            }],
            dummy: "{rand:32}",
            env: &["TWILIO_AUTH_TOKEN"],
            ..API_KEY
        },
        AuthSpec {
            keys: &["api_key_secret", "token"],
            injections: &[InjectionSpec {
                hosts: &[],
                key: "basic",
                fields: &[("username", "{{api_key_sid}}"), ("password", "{{token}}")],
            }],
            // One dummy for both halves of the pair; the libraries want `SK` in front of the first.
            dummy: "SK{rand:32}",
            env: &["TWILIO_API_KEY", "TWILIO_API_KEY_SECRET", "TWILIO_API_SECRET"],
            ..API_KEY
        },
    ],
    // Standard API keys may not read the account itself.
    verify: Some(ok("https://messaging.twilio.com/v1/Services?PageSize=1")),
    ..BY_RULES
};
