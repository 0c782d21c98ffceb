use proptest::prelude::*;
use serde_json::json;

use super::*;

fn allowed(value: &serde_json::Value) -> AllowedNamespaces {
    serde_json::from_value(value.clone()).unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn without_a_word_of_the_provider_only_its_own_namespace_may() {
    for silent in [
        json!({}),
        json!({"from": "Same", "names": ["team"], "selector": {}}),
    ] {
        assert!(allows(&allowed(&silent), "farm", "farm", None));
        assert!(!allows(&allowed(&silent), "farm", "team", Some(&labels(&[]))));
    }
}

#[test]
fn a_list_and_a_selector_each_open_the_provider() {
    let grant = allowed(&json!({
        "from": "Selector", "names": ["team"], "selector": {"matchLabels": {"tier": "paying"}},
    }));
    assert!(allows(&grant, "farm", "team", None));
    assert!(allows(
        &grant,
        "farm",
        "other",
        Some(&labels(&[("tier", "paying")]))
    ));
    assert!(!allows(
        &grant,
        "farm",
        "other",
        Some(&labels(&[("tier", "free")]))
    ));
    assert!(!allows(&grant, "farm", "other", None), "its labels are not known");
}

#[test]
fn every_operator_reads_as_kubernetes_reads_it() {
    let matched = |operator: &str, values: &[&str], labels: &Labels| {
        let selector = json!({"matchExpressions": [{"key": "k", "operator": operator, "values": values}]});
        allows(
            &allowed(&json!({"from": "Selector", "selector": selector})),
            "farm",
            "team",
            Some(labels),
        )
    };
    let (without, a, b) = (labels(&[]), labels(&[("k", "a")]), labels(&[("k", "b")]));
    let cases: [(&str, &[&str], [bool; 3]); 5] = [
        ("In", &["a"], [false, true, false]),
        ("NotIn", &["a"], [true, false, true]),
        ("Exists", &[], [false, true, true]),
        ("DoesNotExist", &[], [true, false, false]),
        ("Gt", &["a"], [false, false, false]),
    ];
    for (operator, values, expected) in cases {
        let found = [&without, &a, &b].map(|labels| matched(operator, values, labels));
        assert_eq!(found, expected, "{operator}");
    }
}

fn any_labels() -> impl Strategy<Value = Labels> {
    proptest::collection::btree_map("[ab]", "[xy]", 0..3)
}

fn any_grant() -> impl Strategy<Value = AllowedNamespaces> {
    let requirement = (
        "[ab]",
        "In|NotIn|Exists|DoesNotExist|Odd",
        proptest::collection::vec("[xy]", 0..3),
    )
        .prop_map(|(key, operator, values)| LabelSelectorRequirement {
            key,
            operator,
            values: Some(values),
        });
    let selector =
        (any_labels(), proptest::collection::vec(requirement, 0..3)).prop_map(|(equal, expressions)| {
            LabelSelector {
                match_labels: Some(equal),
                match_expressions: Some(expressions),
            }
        });
    let from = prop_oneof![
        Just(AllowedFrom::Same),
        Just(AllowedFrom::All),
        Just(AllowedFrom::Selector)
    ];
    let names = proptest::collection::vec("[a-c]", 0..3);
    (from, names, proptest::option::of(selector)).prop_map(|(from, names, selector)| AllowedNamespaces {
        from,
        names,
        selector,
    })
}

proptest! {
    /// The home may always; a stranger by `All` and by its name, and otherwise only by labels that are known; and a
    /// name that is added takes nothing away.
    #[test]
    fn nobody_is_let_in_but_by_a_word_of_the_provider(
        grant in any_grant(), asking in "[a-c]", labels in proptest::option::of(any_labels()),
    ) {
        prop_assert!(allows(&grant, &asking, &asking, labels.as_ref()));
        let may = allows(&grant, "farm", &asking, labels.as_ref());
        let is_named = grant.from == AllowedFrom::Selector && grant.names.contains(&asking);
        let may_be_selected =
            grant.from == AllowedFrom::Selector && grant.selector.is_some() && labels.is_some();
        let is_let_in = grant.from == AllowedFrom::All || is_named;
        prop_assert!(!is_let_in || may);
        prop_assert!(!may || is_let_in || may_be_selected);
        let mut wider = grant;
        wider.names.push("another".into());
        prop_assert!(!may || allows(&wider, "farm", &asking, labels.as_ref()));
    }
}
