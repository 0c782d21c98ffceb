use super::*;

fn rpc(endpoint: &str) -> String {
    rpc_url(endpoint).expect("usable").to_string()
}

#[test]
fn the_base_may_end_in_any_of_the_usual_ways() {
    let expected = "http://127.0.0.1:18081/api/v2/jsonRPC";
    for endpoint in ["", "/", "/jsonRPC", "/jsonRPC/"] {
        assert_eq!(
            rpc(&format!(" http://127.0.0.1:18081/api/v2{endpoint}")),
            expected
        );
    }
    assert_eq!(rpc("http://localhost"), "http://localhost/jsonRPC");
}

#[test]
fn only_loopback_addresses_bypass_a_proxy() {
    let loopback = |endpoint: &str| is_loopback(&rpc_url(endpoint).expect("usable"));
    for endpoint in ["http://127.0.0.1:1", "http://localhost/x", "http://[::1]/"] {
        assert!(loopback(endpoint), "{endpoint}");
    }
    for endpoint in [
        "https://toncenter.com",
        "http://10.0.0.1",
        "http://127.0.0.1.example.com",
    ] {
        assert!(!loopback(endpoint), "{endpoint}");
    }
}
