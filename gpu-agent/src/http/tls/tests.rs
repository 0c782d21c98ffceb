use rcgen::{CertificateParams, KeyPair};

use super::*;

/// Writes a fresh self-signed certificate, its key, and itself as the authority.
fn write(folder: &Path) -> TlsFiles {
    let key = KeyPair::generate().expect("a key");
    let parameters = CertificateParams::new(vec!["localhost".to_owned()]).expect("a valid name");
    let certificate = parameters.self_signed(&key).expect("a certificate").pem();
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("writable");
        path
    };
    TlsFiles {
        certificate: put("tls.crt", &certificate),
        key: put("tls.key", &key.serialize_pem()),
        client_authority: put("ca.crt", &certificate),
    }
}

#[test]
fn changed_files_take_effect_and_unusable_ones_leave_the_old_in_force() {
    let folder = tempfile::tempdir().expect("a folder");
    let tls = Tls::load(write(folder.path())).expect("usable");
    let first = tls.config();
    assert!(!tls.reload().expect("readable"));

    write(folder.path());
    assert!(tls.reload().expect("usable"));
    let second = tls.config();
    assert!(!Arc::ptr_eq(&first, &second));

    std::fs::write(folder.path().join("tls.key"), "no key").expect("writable");
    let error = tls.reload().expect_err("unusable");
    assert!(error.to_string().contains("tls.key"), "{error}");
    assert!(Arc::ptr_eq(&second, &tls.config()));
}

#[test]
fn a_missing_file_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = write(folder.path());
    std::fs::remove_file(&files.client_authority).expect("present");
    let error = Tls::load(files).err().expect("missing");
    assert!(error.to_string().contains("ca.crt"), "{error}");
}
