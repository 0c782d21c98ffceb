use super::values::{Described, described};
use super::*;

#[test]
fn a_template_keeps_the_braces_of_the_definition() {
    let template = crds::template("kind: X\nmetadata:\n  name: a\nspec:\n  text: '{{ .Values }}'\n").unwrap();
    assert!(template.contains("text: '{{ \"{{\" }} .Values }}'"), "{template}");
    assert!(
        template.contains("{{- if .Values.crds.install }}\nkind: X\nmetadata:\n"),
        "{template}"
    );
    assert!(
        template.contains("helm.sh/resource-policy: keep\n  {{- end }}\n"),
        "{template}"
    );
    assert!(template.ends_with("{{- end }}\n"));
}

#[test]
fn changed_missing_and_leftover_files_are_drift() {
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str, content: &str| write(&root.path().join(path), content).unwrap();
    put("crds/same.yaml", "a");
    put("crds/changed.yaml", "a");
    put("crds/leftover.yaml", "a");
    let wanted: Files = ["same", "changed", "missing"]
        .map(|name| {
            let content = if name == "changed" { "b" } else { "a" };
            (PathBuf::from(format!("crds/{name}.yaml")), content.to_owned())
        })
        .into();
    let found = drift(root.path(), &wanted).unwrap();
    assert_eq!(
        found,
        ["changed", "leftover", "missing"].map(|name| PathBuf::from(format!("crds/{name}.yaml")))
    );
    let error = report(&found, 3).unwrap_err().to_string();
    assert!(
        error.contains("crds/leftover.yaml") && error.contains("cargo xtask codegen"),
        "{error}"
    );
}

#[test]
fn a_described_value_has_its_path_its_default_and_its_whole_comment() {
    let yaml = "group:\n  # -- First line\n  # and second.\n  key: 1\n# -- List.\nlist:\n- a: 1\n# -- Empty.\nempty: {}\n";
    let value = |path: &str, default: &str, about: &str| Described {
        path: path.into(),
        default: default.into(),
        about: about.into(),
    };
    assert_eq!(
        described(yaml).unwrap(),
        [
            value("group.key", "1", "First line and second."),
            value("list", "…", "List."),
            value("empty", "{}", "Empty."),
        ]
    );
}

#[test]
fn a_value_without_a_comment_is_refused() {
    let error = described("group:\n  key: 1\n").unwrap_err().to_string();
    assert!(error.contains("line 2") && error.contains("key"), "{error}");
}
