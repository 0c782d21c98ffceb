//! The examples are what the kinds take: fields, types and CEL rules. The API server's own word is asked end to end.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::ResourceQuota;
use serde_json::Value;

use super::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the examples are there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|end| end == "yaml") {
            found.push(path);
        }
    }
}

/// A field that the kind does not have, or of another type, is an error of serde's; what a rule refuses is one of
/// CEL's.
fn check<K>(object: &Value, place: &str)
where
    K: serde::de::DeserializeOwned + schemars::JsonSchema,
{
    serde_json::from_value::<K>(object.clone()).unwrap_or_else(|error| panic!("{place}: {error}"));
    validate_cel_schema::<K>(object, None).unwrap_or_else(|error| panic!("{place}: {error:?}"));
}

/// A quota counts what it names by its plural and group; a word that is none counts nothing, and nobody says so.
fn check_quota(object: &Value, place: &str) {
    let quota: ResourceQuota =
        serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{place}: {error}"));
    let hard = quota.spec.and_then(|spec| spec.hard).unwrap_or_default();
    assert!(!hard.is_empty(), "{place} bounds nothing");
    let definitions = definitions();
    let ours = definitions
        .iter()
        .map(|kind| format!("{}.{}", kind.spec.names.plural, kind.spec.group));
    let known: Vec<String> = ours.chain(["secrets".into(), "configmaps".into()]).collect();
    for key in hard.keys() {
        let counted = key.strip_prefix("count/").map(str::to_owned);
        assert!(
            counted.is_some_and(|counted| known.contains(&counted)),
            "{place}: {key} counts nothing"
        );
    }
    assert!(hard.contains_key("count/inferencejobs.cocoon.farm"), "{place}");
}

#[test]
fn every_example_is_what_its_kind_takes() {
    let mut found = Vec::new();
    files(&folder(), &mut found);
    let mut kinds = std::collections::BTreeSet::new();
    for path in found {
        let text = std::fs::read_to_string(&path).expect("reads");
        let place = path.display().to_string();
        let objects: Vec<Value> =
            serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{place}: {error}"));
        for object in objects {
            let kind = object["kind"]
                .as_str()
                .unwrap_or_else(|| panic!("{place}: no kind"))
                .to_owned();
            match kind.as_str() {
                "CocoonProvider" => check::<CocoonProvider>(&object, &place),
                "InferenceJob" => check::<InferenceJob>(&object, &place),
                "PaymentChannel" => check::<PaymentChannel>(&object, &place),
                "ResourceQuota" => check_quota(&object, &place),
                "Secret" => {}
                other => panic!("{place}: {other} is no kind of an example"),
            }
            kinds.insert(kind);
        }
    }
    for kind in [
        "CocoonProvider",
        "InferenceJob",
        "PaymentChannel",
        "Secret",
        "ResourceQuota",
    ] {
        assert!(kinds.contains(kind), "no example of a {kind}");
    }
}

#[test]
fn labels_of_agents_that_are_the_operators_own_are_refused() {
    let text = std::fs::read_to_string(folder().join("farm/pods.yaml")).expect("reads");
    let mut object: Value = serde_saphyr::from_str(&text).expect("YAML");
    validate_cel_schema::<CocoonProvider>(&object, None).expect("as it is");
    for (field, key) in [
        ("labels", "cocoon.farm/model"),
        ("labels", "app.kubernetes.io/name"),
        ("annotations", "cocoon.farm/note"),
    ] {
        object["spec"]["models"][0]["pod"][field][key] = "mine".into();
        let error = format!(
            "{:?}",
            validate_cel_schema::<CocoonProvider>(&object, None).expect_err("refused")
        );
        assert!(error.contains("the operator's own"), "{error}");
        object["spec"]["models"][0]["pod"][field]
            .as_object_mut()
            .expect("a map")
            .remove(key);
    }
}
