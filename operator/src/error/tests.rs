use serde_json::json;

use super::*;

const CANARY: &str = "canary-7f3a";

fn answer(code: u16, kind: &str) -> kube::Error {
    let status = json!({
        "status": "Failure", "code": code, "reason": "Invalid", "message": format!("{kind} is invalid: {CANARY}"),
        "details": {"kind": kind, "name": "j", "causes": [
            {"field": "spec.input", "reason": "FieldValueInvalid", "message": format!("Invalid value: {CANARY}")},
            {"field": format!("metadata[\"{CANARY}\"]"), "reason": "FieldValueInvalid", "message": CANARY},
        ]},
    });
    kube::Error::Api(Box::new(serde_json::from_value(status).unwrap()))
}

#[test]
fn no_cause_repeats_what_a_library_quotes() {
    let serde = || serde_json::from_str::<u32>(&format!("\"{CANARY}\"")).unwrap_err();
    assert!(serde().to_string().contains(CANARY), "it would be repeated");
    let errors: Vec<kube::Error> = vec![
        answer(422, "InferenceJob"),
        answer(403, "secrets"),
        answer(403, "Secret"),
        answer(400, ""),
        kube::Error::SerdeError(serde()),
    ];
    for error in errors {
        let told = Err::<(), _>(error).attempt("read", "Secret a/b").unwrap_err();
        let told = chain(&told);
        assert!(told.starts_with("could not read Secret a/b: "), "{told}");
        assert!(!told.contains(CANARY), "{told}");
    }
    assert!(!chain(&serde()).contains(CANARY));
}

#[test]
fn what_the_api_server_refuses_is_named_by_code_reason_and_field() {
    let told = chain(
        &Err::<(), _>(answer(422, "InferenceJob"))
            .attempt("write", "x")
            .unwrap_err(),
    );
    assert!(
        told.ends_with("answered 422 Invalid because of spec.input"),
        "{told}"
    );
    let quota = chain(
        &Err::<(), _>(answer(403, "deployments"))
            .attempt("apply", "x")
            .unwrap_err(),
    );
    assert!(quota.contains("deployments is invalid"), "{quota}");
}

#[tokio::test]
async fn a_panic_of_a_task_is_told_without_its_payload() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let error = tokio::spawn(async { panic!("prompt: {}", "canary-7f3a") })
        .await
        .unwrap_err();
    std::panic::set_hook(hook);
    assert!(error.to_string().contains(CANARY), "it would be repeated");
    let error = anyhow::Error::from(error).context("a controller ended");
    assert_eq!(chain(error.as_ref()), "a controller ended: a task panicked");
}
