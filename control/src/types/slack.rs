//! Slack's Web API: `/api/METHOD`.
//!
//! `scope.channels` can be checked only of methods that act on the one channel that their parameter `channel` names, in the
//! query or in a body that was read (a form, or JSON). With a scope every other method that could act on a channel, or show
//! what is in one, is refused (fail closed), and so is one whose channel is named twice.

use std::borrow::Cow;
use std::fmt;

use http::Method;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::read::{Segments, is_read};
use super::shapes::ok;
use super::{Actions, Ask, AuthSpec, Clarity, InjectionSpec, Resolved, Resource, Told, TypeSpec, VerifySpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "slack",
    summary: "Slack: `Authorization: Bearer` on slack.com. Actions are the Web API's methods, `socket:connect` for Socket Mode, and `file:upload` and `file:download` on files.slack.com. With `scope.channels` only methods that act on the one channel in their parameter `channel` are let through, and those that concern none.",
    hosts: &["slack.com", "files.slack.com", "wss-primary.slack.com", "wss-backup.slack.com"],
    auth: &[AuthSpec {
        name: "bot-token",
        keys: &["token"],
        injections: &[InjectionSpec {
            hosts: &["slack.com", "files.slack.com"],
            key: "header",
            fields: &[("header", "authorization"), ("template", "Bearer {{token}}")],
        }],
        public_prefixes: &["xoxb-", "xoxp-", "xapp-"],
        remove_headers: &[],
        remove_params: &["token"],
        dummy: "xoxb-{digits:12}-{digits:13}-{rand:24}",
        env: &["SLACK_BOT_TOKEN"],
    }],
    actions: Actions::Open(METHODS),
    scope: Some("channels"),
    verify: Some(VerifySpec {
        method: "POST",
        says: Some(r#""ok":true"#),
        ..ok("https://slack.com/api/auth.test")
    }),
    resolve,
};

const SOCKET: &str = "socket:connect";
/// To an address that `files.getUploadURLExternal` gave.
const UPLOAD: &str = "file:upload";
/// From an address that a file's `url_private` names.
const DOWNLOAD: &str = "file:download";

const METHODS: &[&str] = &[
    SOCKET,
    UPLOAD,
    DOWNLOAD,
    "api.test",
    "auth.test",
    "auth.revoke",
    "auth.teams.list",
    "apps.connections.open",
    "apps.uninstall",
    "bookmarks.add",
    "bookmarks.edit",
    "bookmarks.list",
    "bookmarks.remove",
    "bots.info",
    "calls.add",
    "calls.end",
    "calls.info",
    "calls.update",
    "canvases.create",
    "canvases.delete",
    "canvases.edit",
    "chat.delete",
    "chat.deleteScheduledMessage",
    "chat.getPermalink",
    "chat.meMessage",
    "chat.postEphemeral",
    "chat.postMessage",
    "chat.scheduleMessage",
    "chat.scheduledMessages.list",
    "chat.unfurl",
    "chat.update",
    "chat.startStream",
    "chat.appendStream",
    "chat.stopStream",
    "conversations.archive",
    "conversations.close",
    "conversations.create",
    "conversations.history",
    "conversations.info",
    "conversations.invite",
    "conversations.join",
    "conversations.kick",
    "conversations.leave",
    "conversations.list",
    "conversations.mark",
    "conversations.members",
    "conversations.open",
    "conversations.rename",
    "conversations.replies",
    "conversations.setPurpose",
    "conversations.setTopic",
    "conversations.unarchive",
    "dnd.endSnooze",
    "dnd.info",
    "dnd.setSnooze",
    "dnd.teamInfo",
    "emoji.list",
    "files.completeUploadExternal",
    "files.delete",
    "files.getUploadURLExternal",
    "files.info",
    "files.list",
    "files.remote.add",
    "files.remote.info",
    "files.remote.list",
    "files.remote.remove",
    "files.remote.share",
    "files.sharedPublicURL",
    "files.revokePublicURL",
    "files.upload",
    "oauth.access",
    "oauth.v2.access",
    "pins.add",
    "pins.list",
    "pins.remove",
    "reactions.add",
    "reactions.get",
    "reactions.list",
    "reactions.remove",
    "reminders.add",
    "reminders.complete",
    "reminders.delete",
    "reminders.info",
    "reminders.list",
    "rtm.connect",
    "search.all",
    "search.files",
    "search.messages",
    "stars.list",
    "team.info",
    "team.profile.get",
    "usergroups.create",
    "usergroups.disable",
    "usergroups.enable",
    "usergroups.list",
    "usergroups.update",
    "usergroups.users.list",
    "usergroups.users.update",
    "users.conversations",
    "users.getPresence",
    "users.identity",
    "users.info",
    "users.list",
    "users.lookupByEmail",
    "users.profile.get",
    "users.profile.set",
    "users.setPresence",
    "views.open",
    "views.publish",
    "views.push",
    "views.update",
    "workflows.stepCompleted",
    "workflows.stepFailed",
    "workflows.updateStep",
];

/// Methods that neither act on a channel nor show what is in one.
const WITHOUT_CHANNEL: &[&str] = &[
    "api.test",
    "auth.test",
    "bots.info",
    "dnd.info",
    "dnd.teamInfo",
    "emoji.list",
    "team.info",
    "team.profile.get",
    "usergroups.list",
    "usergroups.users.list",
    "users.getPresence",
    "users.identity",
    "users.info",
    "users.list",
    "users.lookupByEmail",
    "users.profile.get",
];

fn resolve<'a>(ask: &Ask<'a>) -> Resolved<'a> {
    if ask.host.name().is_some_and(|name| name.starts_with("wss-")) {
        return if is_read(ask.method) { Resolved::hidden(SOCKET) } else { Resolved::unknown() };
    }
    let segments = Segments::of(ask.path);
    if ask.host.name().is_some_and(|name| name.starts_with("files.")) {
        return match *ask.method {
            Method::POST if segments.is(0, "upload") => Resolved::hidden(UPLOAD),
            Method::GET | Method::HEAD if segments.is_any(0, &["files-pri", "files-tmb"]) => {
                Resolved::hidden(DOWNLOAD)
            }
            _ => Resolved::unknown(),
        };
    }
    let name = segments.at(1);
    let fits =
        !name.is_empty() && name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    let is_call = segments.is(0, "api")
        && segments.len() == 2
        && fits
        && matches!(*ask.method, Method::GET | Method::HEAD | Method::POST);
    if !is_call {
        return Resolved::unknown();
    }
    let known = METHODS.iter().find(|known| known.eq_ignore_ascii_case(name));
    let action = known.map_or_else(|| Cow::Owned(name.to_owned()), |known| Cow::Borrowed(*known));
    Resolved { resource: resource(ask, &action), action, also: Vec::new(), clarity: Clarity::Clear }
}

/// Methods that act on the channel in `channel`, and on nothing else.
const BY_CHANNEL: &[&str] = &[
    "chat.appendStream",
    "chat.delete",
    "chat.deleteScheduledMessage",
    "chat.getPermalink",
    "chat.meMessage",
    "chat.postEphemeral",
    "chat.postMessage",
    "chat.scheduleMessage",
    "chat.scheduledMessages.list",
    "chat.startStream",
    "chat.stopStream",
    "chat.update",
    "conversations.archive",
    "conversations.close",
    "conversations.history",
    "conversations.info",
    "conversations.invite",
    "conversations.join",
    "conversations.kick",
    "conversations.leave",
    "conversations.mark",
    "conversations.members",
    "conversations.rename",
    "conversations.replies",
    "conversations.setPurpose",
    "conversations.setTopic",
    "conversations.unarchive",
    "pins.add",
    "pins.list",
    "pins.remove",
    "reactions.add",
];

/// Whether the body of this request may name the channel that it acts on.
pub(super) fn tells_channel(ask: &Ask<'_>) -> bool {
    *ask.method == Method::POST && BY_CHANNEL.contains(&&*resolve(ask).action)
}

fn resource<'a>(ask: &Ask<'a>, action: &str) -> Resource<'a> {
    if WITHOUT_CHANNEL.contains(&action) {
        return Resource::None;
    }
    if !BY_CHANNEL.contains(&action) {
        return Resource::Hidden;
    }
    let in_body = match ask.body {
        // A GET's is not looked at by anybody.
        None if is_read(ask.method) => Ok(None),
        Some(Told::Form(form)) => only(Some(form)),
        Some(Told::Json(text)) => channel_of(text),
        Some(Told::Calls(_)) | None => Err(()),
    };
    match (only(ask.query), in_body) {
        (Ok(Some(channel)), Ok(None)) | (Ok(None), Ok(Some(channel))) if is_id(channel) => {
            Resource::Named(channel)
        }
        _ => Resource::Hidden,
    }
}

/// The channel of a query or form, if it is named there once.
fn only(parameters: Option<&str>) -> Result<Option<&str>, ()> {
    let mut named = parameters.unwrap_or_default().split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = name.replace('+', " ");
        let name = percent_encoding::percent_decode_str(&name).decode_utf8_lossy();
        // Slack's servers are PHP's kin: blanks in front do not count there, nor what stands behind a bracket.
        let bare = name.trim_start_matches(|c: char| c <= ' ').split(['[', '\0']).next().unwrap_or_default();
        let is_like = bare.eq_ignore_ascii_case("channel") || bare.eq_ignore_ascii_case("channels");
        is_like.then_some((name == "channel", value))
    });
    match (named.next(), named.next()) {
        (None, _) => Ok(None),
        (Some((true, channel)), None) => Ok(Some(channel)),
        (Some(_), _) => Err(()),
    }
}

/// The channel of a JSON text, if it is one object that names it once and in one spelling.
fn channel_of(text: &str) -> Result<Option<&str>, ()> {
    let Named(channel) = serde_json::from_str(text).map_err(|_| ())?;
    let Some(raw) = channel else { return Ok(None) };
    raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')).map(Some).ok_or(())
}

/// The raw value of the member `channel`.
struct Named<'a>(Option<&'a str>);

impl<'de: 'a, 'a> Deserialize<'de> for Named<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Named<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object that names its channel once")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<'de>, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let is_like = name.eq_ignore_ascii_case("channel") || name.eq_ignore_ascii_case("channels");
            if !is_like {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let raw: &'de RawValue = map.next_value()?;
            if name != "channel" || found.replace(raw.get()).is_some() {
                return Err(A::Error::custom("the channel is named twice"));
            }
        }
        Ok(Named(found))
    }
}

fn is_id(channel: &str) -> bool {
    !channel.is_empty() && channel.bytes().all(|b| b.is_ascii_alphanumeric() || b == b',')
}
