//! How people are told: channels as the deployment's configuration names them, and the courier that carries notices to them.
//!
//! The engine writes a notice in the transaction of what it tells of (`store/notices.rs`). A [`Courier`] takes what is due, makes a
//! [`Letter`] of it, hands it over, and says how that went. Read in this order: [`letter`], [`webhook`], [`email`], [`courier`].

pub mod courier;
pub mod email;
pub mod letter;
#[cfg(test)]
mod tests;
pub mod webhook;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use courier::{Courier, run};
pub use letter::Letter;

/// All channels by name.
pub type Channels = BTreeMap<String, Channel>;

/// A way to tell people, as `[channels.NAME]` says.
#[derive(Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Channel {
    /// Slack's incoming webhook, or what takes the same.
    Slack(Slack),
    /// A program: JSON, signed.
    Webhook(Webhook),
    /// Mail.
    Email(Email),
}

/// `kind = "slack"`
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Slack {
    /// `https://hooks.slack.com/services/…`; whoever knows it may post.
    pub url: String,
    /// File that holds it.
    pub url_file: Option<PathBuf>,
}

/// `kind = "webhook"`
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhook {
    /// Where it is posted.
    pub url: String,
    /// Signs what is posted.
    pub secret: String,
    /// File that holds it.
    pub secret_file: Option<PathBuf>,
}

/// `kind = "email"`
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Email {
    /// Name of the mail server.
    pub host: String,
    /// Its port; else 587, 465 with `tls = "tls"`, 25 with `tls = "none"`.
    pub port: Option<u16>,
    /// How the way to it is kept private.
    pub tls: Tls,
    /// Account there.
    pub user: Option<String>,
    /// Password of the account.
    pub password: String,
    /// File that holds it.
    pub password_file: Option<PathBuf>,
    /// Sender.
    pub from: String,
    /// Receivers.
    pub to: Vec<String>,
}

impl Default for Email {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: None,
            tls: Tls::Starttls,
            user: None,
            password: String::new(),
            password_file: None,
            from: String::new(),
            to: Vec::new(),
        }
    }
}

/// How the way to a mail server is kept private.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// Begins in the open and goes on in private, or not at all.
    #[default]
    Starttls,
    /// Private from the start.
    Tls,
    /// In the open.
    None,
}

impl Channel {
    /// Its `kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Slack(_) => "slack",
            Self::Webhook(_) => "webhook",
            Self::Email(_) => "email",
        }
    }

    /// Takes in what lies in files; `read` answers a file's text. Then checks that it is whole. The error says what is missing.
    pub fn complete(&mut self, read: impl Fn(&Path) -> Result<String, String>) -> Result<(), String> {
        let fill = |value: &mut String, file: &Option<PathBuf>, name: &str| match file {
            Some(_) if !value.is_empty() => Err(format!(
                "both `{name}` and `{name}_file` are set; one of them must go"
            )),
            Some(path) => read(path).map(|text| *value = text.trim_end_matches(['\r', '\n']).to_owned()),
            None => Ok(()),
        };
        match self {
            Self::Slack(slack) => {
                fill(&mut slack.url, &slack.url_file, "url")?;
                webhook::address(&slack.url).map(drop)
            }
            Self::Webhook(hook) => {
                fill(&mut hook.secret, &hook.secret_file, "secret")?;
                if hook.secret.len() < 16 {
                    return Err(
                        "`secret` needs at least 16 characters: receivers trust what it signs".to_owned(),
                    );
                }
                webhook::address(&hook.url).map(drop)
            }
            Self::Email(mail) => {
                fill(&mut mail.password, &mail.password_file, "password")?;
                email::check(mail)
            }
        }
    }
}
