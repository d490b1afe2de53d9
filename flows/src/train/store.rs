//! Writes a model's folder and records its files as artifacts.

use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};
use tidegate_engine::plugin::{Ctx, TaskError};
use tidegate_learn::onnx::Export;

use super::Failure;
use super::fit::Fitted;
use super::watch::publish;
use crate::model::{CARD, Card, ModelRef, ONNX, PROBE, Signature, Tensor, WEIGHTS};

/// The folder, written and recorded.
pub(super) async fn record(ctx: &Ctx, fitted: &Fitted) -> Result<ModelRef, TaskError> {
    let folder = ctx.folders.artifacts.join("model");
    let (card, names) = write(ctx, fitted, &folder)?;
    let mut files = Vec::new();
    for name in names {
        files.push(ctx.artifact(&format!("model/{name}"), &folder.join(name)).await?);
    }
    Ok(ModelRef {
        uri: format!("file://{}", folder.display()),
        kind: card.kind,
        sha256: card.sha256,
        files,
        signature: card.signature,
    })
}

fn write(ctx: &Ctx, fitted: &Fitted, folder: &Path) -> Result<(Card, Vec<&'static str>), Failure> {
    std::fs::create_dir_all(folder).map_err(|source| Failure::File {
        path: folder.to_owned(),
        source,
    })?;
    let weights = fitted.model.to_bytes();
    publish(&folder.join(WEIGHTS), &weights)?;
    publish(&folder.join(PROBE), &fitted.probe.to_bytes())?;
    let mut names = vec![WEIGHTS, PROBE];
    let export = fitted.model.to_onnx();
    if let Some(export) = &export {
        publish(&folder.join(ONNX), &export.bytes)?;
        names.push(ONNX);
    }
    let card = Card {
        v: 1,
        kind: fitted.kind,
        hyperparameters: fitted.hyperparameters.clone(),
        seed: fitted.seed,
        folds: fitted.cuts.digest.clone(),
        data: fitted.data.clone(),
        cut: fitted.cuts.cut,
        sha256: hex::encode(Sha256::digest(&weights)),
        signature: export.as_ref().map(signature).unwrap_or_default(),
        ease: fitted.ease.as_ref().map(|ease| json!(ease)),
        run: ctx.attempt.run.to_string(),
    };
    publish(&folder.join(CARD), format!("{:#}\n", json!(card)).as_bytes())?;
    names.push(CARD);
    Ok((card, names))
}

fn signature(export: &Export) -> Signature {
    let tensors = |all: &[tidegate_learn::onnx::Tensor]| {
        let tensor = |t: &tidegate_learn::onnx::Tensor| Tensor {
            name: t.name.clone(),
            kind: t.dtype.to_owned(),
            shape: t.shape.clone(),
        };
        all.iter().map(tensor).collect()
    };
    Signature {
        inputs: tensors(&export.inputs),
        outputs: tensors(&export.outputs),
    }
}
