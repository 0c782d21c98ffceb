//! Whether `values.schema.json` knows every value of `values.yaml`, and nothing that is not there.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::read_yaml;

/// Fails on a value without a schema, a schema without a value, and an object that takes any key.
pub(super) fn covers_every_value() -> Result<()> {
    // JSON is YAML.
    let gaps = gaps(&read_yaml("values.yaml")?, &read_yaml("values.schema.json")?);
    ensure!(
        gaps.is_empty(),
        "values.yaml and values.schema.json disagree:\n  {}",
        gaps.join("\n  ")
    );
    Ok(())
}

/// What disagrees, by path.
pub(super) fn gaps(values: &Value, schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", values, schema, &mut found);
    found
}

fn compare(path: &str, values: &Value, schema: &Value, found: &mut Vec<String>) {
    // An object whose schema names no members, such as labels, is free on purpose.
    let Some(known) = schema["properties"].as_object() else {
        return;
    };
    if schema["additionalProperties"] != Value::Bool(false) {
        found.push(format!("{path}: the schema takes any key"));
    }
    if let Some(items) = schema.get("items") {
        compare(path, &Value::Null, items, found);
    }
    let Some(values) = values.as_object() else { return };
    let names: BTreeSet<&String> = values.keys().chain(known.keys()).collect();
    for name in names {
        // Helm's own: a chart that has this one as a dependency gives it.
        if path.is_empty() && name == "global" {
            continue;
        }
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        match (values.get(name), known.get(name)) {
            (Some(value), Some(schema)) => {
                let takes = |kind: &str| {
                    schema["type"].as_array().map_or(schema["type"] == kind, |kinds| {
                        kinds.iter().any(|named| named == kind)
                    })
                };
                if value.is_object() && !takes("object") {
                    found.push(format!(
                        "{path}: is an object, and the schema says {}",
                        schema["type"]
                    ));
                }
                if !takes("null") {
                    found.push(format!("{path}: cannot be left empty: the schema refuses null"));
                }
                compare(&path, value, schema, found);
            }
            (Some(_), None) => found.push(format!("{path}: has no schema")),
            (None, _) => found.push(format!("{path}: is in the schema and not in values.yaml")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_without_a_schema_is_a_gap() {
        let schema = json!({"type": "object", "additionalProperties": false, "properties": {
            "a": {"type": ["object", "null"], "additionalProperties": false, "properties": {"b": {"type": ["string", "null"]}}},
            "global": {"type": "object"},
        }});
        assert_eq!(gaps(&json!({"a": {"b": ""}}), &schema), Vec::<String>::new());
        assert_eq!(
            gaps(&json!({"a": {"b": "", "c": 1}}), &schema),
            ["a.c: has no schema"]
        );
        assert_eq!(
            gaps(&json!({"a": {}}), &schema),
            ["a.b: is in the schema and not in values.yaml"]
        );
    }

    #[test]
    fn a_value_that_cannot_be_left_empty_is_a_gap() {
        let schema =
            json!({"type": "object", "additionalProperties": false, "properties": {"a": {"type": "string"}}});
        assert_eq!(
            gaps(&json!({"a": ""}), &schema),
            ["a: cannot be left empty: the schema refuses null"]
        );
    }

    #[test]
    fn an_object_that_takes_any_key_is_a_gap() {
        let schema = json!({"type": "object", "properties": {"a": {"type": ["string", "null"]}}});
        assert_eq!(gaps(&json!({"a": ""}), &schema), [": the schema takes any key"]);
    }
}
