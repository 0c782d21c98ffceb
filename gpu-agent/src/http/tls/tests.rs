use rcgen::{CertificateParams, KeyPair};

use super::*;

/// Writes a fresh authority.
fn write(folder: &Path) -> PathBuf {
    let key = KeyPair::generate().expect("a key");
    let parameters = CertificateParams::new(vec!["localhost".to_owned()]).expect("a valid name");
    let certificate = parameters.self_signed(&key).expect("a certificate").pem();
    let path = folder.join("ca.crt");
    std::fs::write(&path, certificate).expect("writable");
    path
}

fn after(hours: i64) -> Timestamp {
    Timestamp::now()
        .saturating_add(SignedDuration::from_hours(hours))
        .expect("not far")
}

fn certificate(tls: &Tls) -> Vec<u8> {
    tls.current.read().expect("sound").own.certificate.to_vec()
}

#[test]
fn a_changed_authority_takes_effect_and_an_unusable_one_leaves_the_old_in_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let tls = Tls::start(write(folder.path()), after(0)).expect("usable");
    let (first, own) = (tls.config(), certificate(&tls));
    assert!(!tls.renew(after(0)).expect("readable"));

    write(folder.path());
    assert!(tls.renew(after(0)).expect("usable"));
    let second = tls.config();
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(certificate(&tls), own, "the certificate is not the authority's");

    for unusable in ["", "no authority"] {
        std::fs::write(folder.path().join("ca.crt"), unusable).expect("writable");
        let error = tls.renew(after(0)).expect_err("unusable");
        assert!(error.to_string().contains("ca.crt"), "{error}");
        assert!(Arc::ptr_eq(&second, &tls.config()));
    }
}

#[test]
fn a_certificate_is_made_anew_with_another_key_long_before_it_is_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let tls = Tls::start(write(folder.path()), after(0)).expect("usable");
    let first = certificate(&tls);
    assert!(!tls.renew(after(11)).expect("usable"));
    assert_eq!(certificate(&tls), first);
    assert!(tls.renew(after(13)).expect("usable"));
    let second = certificate(&tls);
    assert_ne!(second, first);
    // The node's clock was far ahead and is set right.
    assert!(tls.renew(after(0)).expect("usable"));
    assert_ne!(certificate(&tls), second);
}

#[test]
fn two_processes_never_have_the_same_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = write(folder.path());
    let of = || certificate(&Tls::start(authority.clone(), after(0)).expect("usable"));
    assert_ne!(of(), of());
}

#[test]
fn a_missing_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("ca.crt");
    let error = Tls::start(missing, after(0)).err().expect("missing");
    assert!(error.to_string().contains("ca.crt"), "{error}");
}
