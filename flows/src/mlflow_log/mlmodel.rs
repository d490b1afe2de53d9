//! The files beside a model that make `mlflow.pyfunc.load_model` work on it.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::model::{ModelRef, ONNX, Tensor};

/// What a server needs to score the model.
const REQUIREMENTS: &str = "mlflow-skinny\nnumpy\nonnx\nonnxruntime\npandas\n";
/// Any newer one serves ONNX the same.
const PYTHON: &str = "3.11";

/// Which version of the model, for its `MLmodel` file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity<'a> {
    pub model_id: &'a str,
    pub run_id: &'a str,
    /// Where its files go.
    pub artifact_uri: &'a str,
    /// `2026-11-24 02:00:00`, UTC.
    pub created: &'a str,
}

/// Name and text of each file; only `MLmodel` for a model without an ONNX form, which nothing can load.
pub(super) fn files(model: &ModelRef, identity: Identity<'_>) -> Vec<(&'static str, String)> {
    if !has_onnx(model) {
        return vec![("MLmodel", head(identity))];
    }
    let python_env =
        format!("python: \"{PYTHON}\"\nbuild_dependencies:\n- pip\ndependencies:\n- -r requirements.txt\n");
    vec![
        ("MLmodel", mlmodel(model, identity)),
        ("requirements.txt", REQUIREMENTS.to_owned()),
        ("python_env.yaml", python_env),
    ]
}

/// Whether the model has a form that servers can load.
pub(super) fn has_onnx(model: &ModelRef) -> bool {
    model.files.iter().any(|f| f.uri.rsplit('/').next() == Some(ONNX))
}

fn mlmodel(model: &ModelRef, identity: Identity<'_>) -> String {
    let mut text = head(identity);
    let flavors = json!({
        "onnx": {"data": ONNX, "code": null, "providers": ["CPUExecutionProvider"]},
        "python_function": {
            "loader_module": "mlflow.onnx",
            "data": ONNX,
            "env": {"virtualenv": "python_env.yaml"},
            "python_version": PYTHON,
        },
    });
    line(&mut text, "flavors", &flavors);
    // The signature's parts are JSON texts within the YAML.
    let signature = json!({
        "inputs": tensors(&model.signature.inputs).to_string(),
        "outputs": tensors(&model.signature.outputs).to_string(),
        "params": null,
    });
    line(&mut text, "signature", &signature);
    text
}

fn head(identity: Identity<'_>) -> String {
    let mut text = String::new();
    line(&mut text, "artifact_path", &json!(identity.artifact_uri));
    line(&mut text, "model_id", &json!(identity.model_id));
    line(&mut text, "run_id", &json!(identity.run_id));
    line(&mut text, "utc_time_created", &json!(identity.created));
    text
}

/// One key of a YAML file, of which JSON is a part.
fn line(text: &mut String, key: &str, value: &Value) {
    let _ = writeln!(text, "{key}: {value}");
}

fn tensors(all: &[Tensor]) -> Value {
    let tensor = |t: &Tensor| json!({"type": "tensor", "name": t.name, "tensor-spec": {"dtype": t.kind, "shape": t.shape}});
    all.iter().map(tensor).collect()
}
