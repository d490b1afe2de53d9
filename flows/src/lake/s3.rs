//! The S3 client: credentials and endpoint by the AWS conventions, out of the attempt's environment.
//!
//! Credentials, first found: `AWS_ACCESS_KEY_ID` with `AWS_SECRET_ACCESS_KEY` (and `AWS_SESSION_TOKEN`); the profile
//! `AWS_PROFILE` of the shared files. The metadata service of a cloud machine is not asked.

#![expect(
    deprecated,
    reason = "these are the names that aws-config itself takes; their new home is a crate needed for nothing else"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::meta::region::ProvideRegion;
use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls;
use bytes::Bytes;

use super::{LakeError, Object};

type Env = BTreeMap<String, String>;

fn var<'a>(env: &'a Env, name: &str) -> Option<&'a str> {
    env.get(name).map(String::as_str).filter(|v| !v.is_empty())
}

/// A client for the environment of an attempt.
pub async fn client(env: &Env) -> Result<Client, LakeError> {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https();
    let provider = ProviderConfig::without_region().with_http_client(http.clone());
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .region(region(env, &provider).await)
        .retry_config(RetryConfig::standard().with_max_attempts(4))
        .timeout_config(timeouts());
    let config = match static_credentials(env)? {
        Some(found) => config.credentials_provider(found),
        None => config.credentials_provider(profile_credentials(env, &provider)),
    };
    let endpoint = var(env, "AWS_ENDPOINT_URL_S3").or_else(|| var(env, "AWS_ENDPOINT_URL"));
    Ok(Client::from_conf(with_endpoint(config, endpoint).build()))
}

/// Servers that are not AWS are addressed by path, and are not asked for checksums that many don't know.
fn with_endpoint(config: Builder, endpoint: Option<&str>) -> Builder {
    let Some(endpoint) = endpoint else { return config };
    config
        .endpoint_url(endpoint)
        .force_path_style(true)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .operation_attempt_timeout(Duration::from_secs(60))
        .build()
}

fn static_credentials(env: &Env) -> Result<Option<Credentials>, LakeError> {
    match (var(env, "AWS_ACCESS_KEY_ID"), var(env, "AWS_SECRET_ACCESS_KEY")) {
        (Some(id), Some(secret)) => {
            let token = var(env, "AWS_SESSION_TOKEN").map(str::to_owned);
            Ok(Some(Credentials::new(id, secret, token, None, "environment")))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(unset("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")),
        (None, Some(_)) => Err(unset("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
    }
}

fn unset(missing: &str, given: &str) -> LakeError {
    LakeError::Setting(format!("{given} is set, {missing} is not: set both or neither"))
}

fn profile_files(env: &Env) -> ProfileFiles {
    let home = var(env, "HOME").unwrap_or("/nonexistent");
    let path =
        |name: &str, file: &str| var(env, name).map_or_else(|| format!("{home}/.aws/{file}"), str::to_owned);
    ProfileFiles::builder()
        .with_file(ProfileFileKind::Config, path("AWS_CONFIG_FILE", "config"))
        .with_file(
            ProfileFileKind::Credentials,
            path("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
        )
        .build()
}

fn profile_name(env: &Env) -> &str {
    var(env, "AWS_PROFILE").unwrap_or("default")
}

fn profile_credentials(env: &Env, provider: &ProviderConfig) -> ProfileFileCredentialsProvider {
    ProfileFileCredentialsProvider::builder()
        .configure(provider)
        .profile_files(profile_files(env))
        .profile_name(profile_name(env))
        .build()
}

async fn region(env: &Env, provider: &ProviderConfig) -> Region {
    if let Some(region) = var(env, "AWS_REGION").or_else(|| var(env, "AWS_DEFAULT_REGION")) {
        return Region::new(region.to_owned());
    }
    let profile = ProfileFileRegionProvider::builder()
        .configure(provider)
        .profile_files(profile_files(env))
        .profile_name(profile_name(env))
        .build();
    profile.region().await.unwrap_or_else(|| Region::new("us-east-1"))
}

/// Names of the folders and the objects directly below a prefix (empty or ending in `/`).
pub async fn list(
    client: &Client,
    bucket: &str,
    prefix: &str,
) -> Result<(Vec<String>, Vec<Object>), LakeError> {
    let mut pages = client
        .list_objects_v2()
        .bucket(bucket)
        .prefix(prefix)
        .delimiter("/")
        .into_paginator()
        .send();
    let mut folders = Vec::new();
    let mut files = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|e| error("list", bucket, prefix, &e))?;
        let names = page.common_prefixes().iter().filter_map(|p| p.prefix());
        folders.extend(names.map(|p| p[prefix.len()..].trim_end_matches('/').to_owned()));
        files.extend(page.contents().iter().filter_map(|o| {
            Some(Object {
                key: o.key()?.to_owned(),
                size: u64::try_from(o.size()?).ok()?,
            })
        }));
    }
    Ok((folders, files))
}

/// How large an object is; `None`: it does not exist.
pub async fn size(client: &Client, bucket: &str, key: &str) -> Result<Option<u64>, LakeError> {
    match client.head_object().bucket(bucket).key(key).send().await {
        Ok(head) => Ok(Some(
            head.content_length()
                .and_then(|size| u64::try_from(size).ok())
                .unwrap_or(0),
        )),
        Err(refused)
            if refused
                .as_service_error()
                .is_some_and(|error| error.is_not_found()) =>
        {
            Ok(None)
        }
        Err(refused) => Err(error("look at", bucket, key, &refused)),
    }
}

/// An object, or the bytes of it that `range` (`bytes=0-9`) names.
pub async fn get(
    client: &Client,
    bucket: &str,
    key: &str,
    range: Option<String>,
) -> Result<Bytes, LakeError> {
    let answer = client
        .get_object()
        .bucket(bucket)
        .key(key)
        .set_range(range)
        .send()
        .await;
    let answer = answer.map_err(|e| error("read", bucket, key, &e))?;
    let body = answer.body.collect().await.map_err(|e| LakeError::S3 {
        action: "read",
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        message: DisplayErrorContext(&e).to_string(),
        help: "",
        passing: true,
    })?;
    Ok(body.into_bytes())
}

/// What a refused call means, and what to do about it.
pub fn error<E, R>(action: &'static str, bucket: &str, key: &str, error: &SdkError<E, R>) -> LakeError
where
    E: Error + ProvideErrorMetadata + 'static,
    R: std::fmt::Debug,
{
    let code = error.code().unwrap_or_default();
    let message = match error.message().filter(|m| !m.is_empty()) {
        Some(said) => format!("{code}: {said}"),
        None => DisplayErrorContext(error).to_string(),
    };
    let no_credentials = message.contains("no credentials")
        || message.contains("CredentialsNotLoaded")
        || message.contains("could not find profile")
        || message.contains("No credentials");
    let help = match code {
        "NoSuchBucket" => "; check the bucket's name and AWS_ENDPOINT_URL_S3",
        "NoSuchKey" => "; the object is gone or was never there",
        "AccessDenied" | "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" => {
            "; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and the bucket's policy"
        }
        _ if no_credentials => "; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        _ => "",
    };
    let passing = help.is_empty() && !matches!(error, SdkError::ConstructionFailure(_));
    LakeError::S3 {
        action,
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        message,
        help,
        passing,
    }
}
