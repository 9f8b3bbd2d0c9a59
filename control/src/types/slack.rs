//! Slack's Web API: `/api/METHOD`.
//!
//! `scope.channels` can be checked only where a GET names the channel in its query. Slack also takes parameters from the
//! body, which is not read, so with a scope every POST that could act on a channel is refused (fail closed).

use std::borrow::Cow;

use http::Method;

use super::read::{Segments, is_read, params};
use super::shapes::ok;
use super::{Actions, Ask, AuthSpec, Clarity, InjectionSpec, Resolved, Resource, TypeSpec, VerifySpec};

/// The type.
pub(super) static SPEC: TypeSpec = TypeSpec {
    name: "slack",
    summary: "Slack: `Authorization: Bearer` on slack.com. Actions are the Web API's methods, `socket:connect` for Socket Mode, and `file:upload` and `file:download` on files.slack.com.",
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

fn resource<'a>(ask: &Ask<'a>, action: &str) -> Resource<'a> {
    if WITHOUT_CHANNEL.contains(&action) {
        return Resource::None;
    }
    let mut named = params(ask.query, "channel").chain(params(ask.query, "channels"));
    match (is_read(ask.method), named.next(), named.next()) {
        (true, Some(channel), None) if is_id(channel) => Resource::Named(channel),
        _ => Resource::Hidden,
    }
}

fn is_id(channel: &str) -> bool {
    !channel.is_empty() && channel.bytes().all(|b| b.is_ascii_alphanumeric() || b == b',')
}
