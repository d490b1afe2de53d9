//! Mail by SMTP.

use std::time::Duration;

use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls as Way, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use tidegate_engine::plugin::chain;

use super::{Email, Letter, Tls};

/// How long a server may take for one answer.
const LIMIT: Duration = Duration::from_secs(15);

/// Whether a channel says all that is needed.
pub(super) fn check(mail: &Email) -> Result<(), String> {
    if mail.host.is_empty() {
        return Err("`host` is missing: the name of the mail server".to_owned());
    }
    if mail.to.is_empty() {
        return Err("`to` is missing: a list of addresses".to_owned());
    }
    if mail.user.is_some() && mail.tls == Tls::None {
        return Err(
            "a password would go through the open: `user` needs tls = \"starttls\" or \"tls\"".to_owned(),
        );
    }
    std::iter::once(&mail.from)
        .chain(&mail.to)
        .try_for_each(|text| mailbox(text).map(drop))
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is no address for mail"))
}

/// Hands a mail over to the server.
pub(super) async fn send(mail: &Email, letter: &Letter) -> Result<(), String> {
    let message = message(mail, letter)?;
    let sent = transport(mail)?.send(message).await;
    sent.map(drop).map_err(|error| chain(&error))
}

fn message(mail: &Email, letter: &Letter) -> Result<Message, String> {
    let mut message = Message::builder()
        .from(mailbox(&mail.from)?)
        .subject(format!("[tidegate] {}", letter.title))
        // A repeat of the same notice is seen to be one.
        .message_id(Some(format!("<{}@tidegate>", letter.id)))
        .header(ContentType::TEXT_PLAIN);
    for to in &mail.to {
        message = message.to(mailbox(to)?);
    }
    let lines = [
        Some(letter.title.clone()),
        Some(letter.text.clone()),
        letter.url.clone(),
    ];
    let lines: Vec<String> = lines
        .into_iter()
        .flatten()
        .filter(|line| !line.is_empty())
        .collect();
    message
        .body(format!("{}\n", lines.join("\n\n")))
        .map_err(|error| chain(&error))
}

fn transport(mail: &Email) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
    let secure = || TlsParameters::new(mail.host.clone()).map_err(|error| chain(&error));
    let (way, port) = match mail.tls {
        Tls::Starttls => (Way::Required(secure()?), 587),
        Tls::Tls => (Way::Wrapper(secure()?), 465),
        Tls::None => (Way::None, 25),
    };
    let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mail.host)
        .port(mail.port.unwrap_or(port))
        .tls(way)
        .timeout(Some(LIMIT));
    if let Some(user) = &mail.user {
        transport = transport.credentials(Credentials::new(user.clone(), mail.password.clone()));
    }
    Ok(transport.build())
}
