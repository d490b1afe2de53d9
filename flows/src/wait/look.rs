//! One look at what is waited for.

use std::time::Duration;

use reqwest::{Method, Url};
use tidegate_engine::plugin::{Ctx, TaskError};

use super::{Goal, Input};
use crate::http::{ask_within, headers_of, places};
#[cfg(feature = "ml")]
use crate::lake::store::{Store, split_name};
use crate::net::{Ask, shown};
use crate::sql::ask_whether;

/// How long one look may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What a look saw.
pub(super) enum Look {
    /// It is there.
    There,
    /// It is not, or cannot be seen now.
    NotYet { what: String, why: String },
}

/// Looks once. Errors: what no further look would mend.
pub(super) async fn look(ctx: &Ctx, input: &Input, goal: &Goal<'_>) -> Result<Look, TaskError> {
    match goal {
        Goal::Instant(_) | Goal::Span(_) => Ok(Look::There),
        Goal::Url(url) => at_url(ctx, input, url).await,
        Goal::Object(uri) => at_object(ctx, uri).await,
        Goal::Query { sql, database } => {
            let seen = ask_whether(ctx, (database, sql), LIMIT).await;
            seen_as(
                "the query to say true",
                seen.map(|yes| (yes, "it says no".to_owned())),
            )
        }
    }
}

/// Passing trouble is a reason to look again.
fn seen_as(what: &str, seen: Result<(bool, String), TaskError>) -> Result<Look, TaskError> {
    let why = match seen {
        Ok((true, _)) => return Ok(Look::There),
        Ok((false, why)) => why,
        Err(TaskError::Retry { message } | TaskError::Later { message, .. }) => message,
        Err(error) => return Err(error),
    };
    Ok(Look::NotYet {
        what: what.to_owned(),
        why,
    })
}

async fn at_url(ctx: &Ctx, input: &Input, url: &str) -> Result<Look, TaskError> {
    let url = Url::parse(url).map_err(|e| TaskError::fail(format_args!("`url` is no address ({e})")))?;
    let what = format!("{} to answer", shown(&url));
    let ask = Ask {
        method: Method::GET,
        url,
        headers: headers_of(&input.headers)?,
        body: None,
        redirects: 5,
        cap: 0,
    };
    let answered = ask_within(ctx, (&places(ctx)?, ask), LIMIT).await;
    let seen = answered.map(|answer| {
        let status = answer.status.as_u16();
        let fits = match input.expected.as_slice() {
            [] => (200..300).contains(&status),
            expected => expected.contains(&status),
        };
        (fits, answer.status.to_string())
    });
    seen_as(&what, seen)
}

/// The lake is what knows how objects are reached.
#[cfg(not(feature = "ml"))]
async fn at_object(_: &Ctx, uri: &str) -> Result<Look, TaskError> {
    Err(TaskError::fail(format_args!(
        "{uri}: this build of tidegate reads no objects"
    )))
}

#[cfg(feature = "ml")]
async fn at_object(ctx: &Ctx, uri: &str) -> Result<Look, TaskError> {
    let wrong = || {
        TaskError::fail(format_args!(
            "`{uri}` is no object: write s3://bucket/key or file:///path"
        ))
    };
    let (folder, name) = split_name(uri).ok_or_else(wrong)?;
    let found = async {
        let store = Store::open(folder, &ctx.env).await?;
        store.size(name).await
    };
    let found = tokio::select! {
        () = ctx.cancelled() => return Err(TaskError::Cancelled),
        found = tokio::time::timeout(LIMIT, found) => found,
    };
    let found = match found {
        Ok(found) => found.map_err(TaskError::from),
        Err(_) => Err(TaskError::retry("no answer")),
    };
    seen_as(
        uri,
        found.map(|size| (size.is_some(), "it is not there".to_owned())),
    )
}
