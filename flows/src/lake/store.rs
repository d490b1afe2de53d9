//! Bytes at an address: a prefix of an S3 bucket, or a folder.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use super::{LakeError, s3};

/// A file or object below a store's root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// Path below the root, `/` between its parts.
    pub key: String,
    /// Bytes.
    pub size: u64,
}

/// A place that holds files. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Store {
    /// A prefix of a bucket; the prefix is empty or ends in `/`.
    S3 {
        /// Signed access.
        client: Client,
        /// Bucket.
        bucket: String,
        /// What all keys start with.
        prefix: String,
    },
    /// A folder.
    Folder(PathBuf),
}

/// Splits `s3://bucket/a/b.txt` or `file:///a/b.txt` into the folder's address and the name.
pub fn split_name(uri: &str) -> Option<(&str, &str)> {
    let (folder, name) = uri.rsplit_once('/')?;
    (!name.is_empty() && !folder.ends_with(":/")).then_some((folder, name))
}

impl Store {
    /// Opens an address; reads no byte of it yet. `env`: the attempt's environment.
    pub async fn open(uri: &str, env: &BTreeMap<String, String>) -> Result<Self, LakeError> {
        if let Some(path) = uri.strip_prefix("file://").filter(|p| p.starts_with('/')) {
            return Ok(Self::Folder(PathBuf::from(path)));
        }
        let rest = uri
            .strip_prefix("s3://")
            .ok_or_else(|| LakeError::Address(uri.to_owned()))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(LakeError::Address(uri.to_owned()));
        }
        let prefix = match prefix.trim_matches('/') {
            "" => String::new(),
            inner => format!("{inner}/"),
        };
        Ok(Self::S3 {
            client: s3::client(env).await?,
            bucket: bucket.to_owned(),
            prefix,
        })
    }

    /// The full address of a key, for people.
    pub fn show(&self, key: &str) -> String {
        match self {
            Self::S3 { bucket, prefix, .. } => format!("s3://{bucket}/{prefix}{key}"),
            Self::Folder(root) => root.join(key).display().to_string(),
        }
    }

    /// What lies directly in a folder (`""` or ending in `/`): names of folders, and files.
    pub async fn list(&self, folder: &str) -> Result<(Vec<String>, Vec<Object>), LakeError> {
        match self {
            Self::Folder(root) => list_folder(&root.join(folder), folder),
            Self::S3 {
                client,
                bucket,
                prefix,
            } => s3::list(client, bucket, &format!("{prefix}{folder}"))
                .await
                .map(|(folders, files)| {
                    let inner = |key: String| key.strip_prefix(prefix.as_str()).unwrap_or(&key).to_owned();
                    let files = files
                        .into_iter()
                        .map(|o| Object {
                            key: inner(o.key),
                            size: o.size,
                        })
                        .collect();
                    (folders, files)
                }),
        }
    }

    /// Some bytes of a file.
    pub async fn range(&self, key: &str, range: Range<u64>) -> Result<Bytes, LakeError> {
        match self {
            Self::Folder(root) => {
                let path = root.join(key);
                let shown = path.display().to_string();
                let read = tokio::task::spawn_blocking(move || read_range(&path, range)).await;
                read.map_err(std::io::Error::other)
                    .flatten()
                    .map_err(|e| LakeError::file(shown, e))
            }
            Self::S3 {
                client,
                bucket,
                prefix,
            } => {
                let part = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
                s3::get(client, bucket, &format!("{prefix}{key}"), Some(part)).await
            }
        }
    }

    /// How large a file is; `None`: it is not there.
    pub async fn size(&self, key: &str) -> Result<Option<u64>, LakeError> {
        match self {
            Self::Folder(root) => {
                let path = root.join(key);
                match tokio::fs::metadata(&path).await {
                    Ok(meta) => Ok(Some(meta.len())),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(LakeError::file(path.display().to_string(), error)),
                }
            }
            Self::S3 {
                client,
                bucket,
                prefix,
            } => s3::size(client, bucket, &format!("{prefix}{key}")).await,
        }
    }

    /// All of a file.
    pub async fn get(&self, key: &str) -> Result<Bytes, LakeError> {
        match self {
            Self::Folder(root) => {
                let path = root.join(key);
                let bytes = tokio::fs::read(&path).await;
                bytes
                    .map(Bytes::from)
                    .map_err(|e| LakeError::file(path.display().to_string(), e))
            }
            Self::S3 {
                client,
                bucket,
                prefix,
            } => s3::get(client, bucket, &format!("{prefix}{key}"), None).await,
        }
    }

    /// Writes a file as a whole; its folders are made.
    pub async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), LakeError> {
        match self {
            Self::Folder(root) => {
                let path = root.join(key);
                put_file(&path, &bytes)
                    .await
                    .map_err(|e| LakeError::file(path.display().to_string(), e))
            }
            Self::S3 {
                client,
                bucket,
                prefix,
            } => {
                let key = format!("{prefix}{key}");
                let sent = client
                    .put_object()
                    .bucket(bucket)
                    .key(&key)
                    .body(ByteStream::from(bytes))
                    .send()
                    .await;
                sent.map(|_| ()).map_err(|e| s3::error("write", bucket, &key, &e))
            }
        }
    }
}

async fn put_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        tokio::fs::create_dir_all(parent).await?;
    }
    let half = path.with_extension("part");
    tokio::fs::write(&half, bytes).await?;
    tokio::fs::rename(&half, path).await
}

fn read_range(path: &Path, range: Range<u64>) -> std::io::Result<Bytes> {
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(range.start))?;
    let length = usize::try_from(range.end.saturating_sub(range.start)).map_err(std::io::Error::other)?;
    let mut buffer = vec![0; length];
    file.read_exact(&mut buffer)?;
    Ok(Bytes::from(buffer))
}

fn list_folder(path: &Path, folder: &str) -> Result<(Vec<String>, Vec<Object>), LakeError> {
    let failed = |e| LakeError::file(path.display().to_string(), e);
    let mut folders = Vec::new();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let meta = std::fs::metadata(entry.path()).map_err(failed)?;
        if meta.is_dir() {
            folders.push(name);
        } else {
            files.push(Object {
                key: format!("{folder}{name}"),
                size: meta.len(),
            });
        }
    }
    folders.sort();
    files.sort();
    Ok((folders, files))
}
