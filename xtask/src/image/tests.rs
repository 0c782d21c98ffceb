use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::GzDecoder;
use proptest::prelude::*;
use serde_json::Value;

use super::layer::{Layer, Node};
use super::{Architecture, LOCAL, Name, assemble, debian, elf, oci, pins};
use crate::cache;

/// The base layer of the committed pins; needs Debian's archive once, then the cache.
fn base() -> Layer {
    super::base(Architecture::Amd64).unwrap()
}

/// A dynamically linked Rust program: the one that runs these tests.
fn program() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// An image on the committed pins whose program is `content`, small so that packing it is quick.
fn image(name: Name, content: &[u8]) -> oci::Image<'static> {
    let mut image = assemble(name.parts(), LOCAL, Architecture::Amd64, &base(), &program()).unwrap();
    let path = image.entrypoint.trim_start_matches('/').to_owned();
    image.layers[1].1.file(&path, 0o755, content.to_vec());
    image
}

fn archive_members(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let members = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (name, content)
    });
    members.collect()
}

fn blob(members: &BTreeMap<String, Vec<u8>>, descriptor: &Value) -> Vec<u8> {
    let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
    let content = &members[&format!("blobs/{digest}")];
    assert_eq!(descriptor["size"], content.len());
    content.clone()
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn the_base_layer_holds_exactly_the_files_a_rust_binary_needs() {
    let layer = base();
    let paths: Vec<_> = layer.paths().collect();
    insta::assert_yaml_snapshot!(paths);
}

#[test]
fn the_same_inputs_give_the_same_archive_byte_for_byte() {
    let [first, second] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let write = |out: &Path| oci::write(&[image(Name::Agent, b"program")], None, out).unwrap();
    let (one, two) = (write(first.path()), write(second.path()));
    assert_eq!(one.digest, two.digest);
    assert_eq!(fs::read(&one.file).unwrap(), fs::read(&two.file).unwrap());
}

#[test]
fn another_binary_gives_another_tag_and_the_same_base() {
    let out = tempfile::tempdir().unwrap();
    let base = base();
    let tag_and_layers = |content: &[u8]| {
        let parts = Name::Agent.parts();
        let mut image = assemble(parts, LOCAL, Architecture::Amd64, &base, &program()).unwrap();
        image.layers[1]
            .1
            .file("usr/bin/gpu-agent", 0o755, content.to_vec());
        let built = oci::write(&[image], None, out.path()).unwrap();
        let members = archive_members(&built.file);
        let manifest = json(&blob(&members, &json(&members["index.json"])["manifests"][0]));
        (built.tag, manifest["layers"].as_array().unwrap().clone())
    };
    let (one, one_layers) = tag_and_layers(b"one");
    let (two, two_layers) = tag_and_layers(b"two");
    assert_ne!(one, two);
    assert_eq!(one_layers[0], two_layers[0]);
    assert_ne!(one_layers[1], two_layers[1]);
}

#[test]
fn the_archive_is_an_image_layout_whose_layers_match_their_diff_ids() {
    use sha2::{Digest as _, Sha256};
    let out = tempfile::tempdir().unwrap();
    let built = oci::write(&[image(Name::Operator, b"program")], Some("test"), out.path()).unwrap();

    let members = archive_members(&built.file);
    assert_eq!(json(&members["oci-layout"])["imageLayoutVersion"], "1.0.0");
    let descriptor = &json(&members["index.json"])["manifests"][0];
    assert_eq!(descriptor["digest"], built.digest);
    assert_eq!(
        descriptor["annotations"]["io.containerd.image.name"],
        "cocoon.local/operator:test"
    );
    assert_eq!(
        descriptor["annotations"]["org.opencontainers.image.ref.name"],
        "test"
    );

    let manifest = json(&blob(&members, descriptor));
    let config = json(&blob(&members, &manifest["config"]));
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"][0], "/usr/bin/cocoon-operator");
    let layers = manifest["layers"].as_array().unwrap();
    let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
    assert_eq!(layers.len(), diff_ids.len());
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        let mut archive = Vec::new();
        GzDecoder::new(blob(&members, layer).as_slice())
            .read_to_end(&mut archive)
            .unwrap();
        assert_eq!(
            *diff_id,
            format!("sha256:{}", hex::encode(Sha256::digest(&archive)))
        );
    }
}

/// Without Debian's files for the other processor, which a test need not download.
#[test]
fn an_image_for_two_processors_is_an_index_of_one_for_each() {
    let out = tempfile::tempdir().unwrap();
    let both = [Architecture::Amd64, Architecture::Arm64].map(|architecture| oci::Image {
        architecture,
        ..image(Name::Agent, architecture.name().as_bytes())
    });
    let built = oci::write(&both, None, out.path()).unwrap();
    let members = archive_members(&built.file);
    let named = &json(&members["index.json"])["manifests"];
    assert_eq!(named.as_array().unwrap().len(), 1);
    assert_eq!(named[0]["digest"], built.digest);
    assert_eq!(
        named[0]["annotations"]["io.containerd.image.name"],
        built.reference
    );
    let index = json(&blob(&members, &named[0]));
    let manifests = index["manifests"].as_array().unwrap();
    assert_eq!(manifests.len(), both.len());
    for ((descriptor, (architecture, digest)), image) in manifests.iter().zip(&built.manifests).zip(&both) {
        assert_eq!(*architecture, image.architecture);
        assert_eq!(descriptor["digest"], digest.as_str());
        assert_eq!(descriptor["platform"]["architecture"], architecture.name());
        let config = json(&blob(&members, &json(&blob(&members, descriptor))["config"]));
        assert_eq!(config["architecture"], architecture.name());
    }
    assert!(built.tag.contains(&built.digest["sha256:".len()..][..12]));
}

#[test]
fn both_processors_have_the_same_packages_and_files() {
    let of = |architecture: Architecture| {
        let pins = pins(architecture).unwrap();
        assert_eq!(pins.architecture, architecture.name());
        let libraries = architecture.libraries();
        let packages = pins.packages.into_iter().map(|package| {
            let files = package.files().map(|file| {
                let file = file.replace(&libraries, "LIBRARIES");
                // Each processor's loader has a path of its own.
                match file.rsplit_once("/ld-linux-") {
                    Some((folder, _)) => folder.replace("lib64", "lib") + "/LOADER",
                    None => file,
                }
            });
            (package.name.clone(), files.collect::<BTreeSet<_>>())
        });
        packages.collect::<Vec<_>>()
    };
    assert_eq!(of(Architecture::Amd64), of(Architecture::Arm64));
}

#[test]
fn a_layer_archive_is_sorted_owned_by_root_and_dated_1970() {
    let mut layer = Layer::default();
    layer.file("usr/bin/b", 0o755, b"b".to_vec());
    layer.directory("tmp", 0o1777);
    layer.insert(
        "usr/a",
        Node::Link {
            target: "bin/b".into(),
        },
    );
    let bytes = layer.to_tar().unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    let seen: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!(
                (
                    header.uid().unwrap(),
                    header.gid().unwrap(),
                    header.mtime().unwrap()
                ),
                (0, 0, 0)
            );
            (
                String::from_utf8(entry.path_bytes().into_owned()).unwrap(),
                header.mode().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("tmp/", 0o1777),
        ("usr/", 0o755),
        ("usr/a", 0o777),
        ("usr/bin/", 0o755),
        ("usr/bin/b", 0o755),
    ];
    assert_eq!(seen, expected.map(|(path, mode)| (path.to_owned(), mode)));
}

#[test]
fn the_packages_loader_finds_every_library_of_a_rust_binary_in_the_packages() {
    let layer = base();
    elf::check_closure(&fs::read(program()).unwrap(), Architecture::Amd64, &layer).unwrap();

    let root = tempfile::tempdir().unwrap();
    tar::Archive::new(layer.to_tar().unwrap().as_slice())
        .unpack(root.path())
        .unwrap();
    let libraries = root.path().join("lib/x86_64-linux-gnu");
    let listed = Command::new(libraries.join("ld-linux-x86-64.so.2"))
        .args(["--inhibit-cache", "--library-path"])
        .arg(&libraries)
        .arg("--list")
        .arg(program())
        .output()
        .unwrap();
    assert!(
        listed.status.success(),
        "{}",
        String::from_utf8_lossy(&listed.stderr)
    );
    for line in String::from_utf8(listed.stdout)
        .unwrap()
        .lines()
        .filter(|line| line.contains("=>"))
    {
        assert!(
            line.contains(&*libraries.to_string_lossy()),
            "{line} is not from the packages"
        );
    }
}

#[test]
fn a_missing_library_and_a_missing_symbol_version_are_named() {
    let binary = fs::read(program()).unwrap();
    let mut layer = base();
    let maths = layer.content("lib/x86_64-linux-gnu/libm.so.6").unwrap().to_vec();
    layer.file("lib/x86_64-linux-gnu/libc.so.6", 0o755, maths);
    layer.insert(
        "lib/x86_64-linux-gnu/libgcc_s.so.1",
        Node::Directory { mode: 0o755 },
    );
    let error = elf::check_closure(&binary, Architecture::Amd64, &layer)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the binary needs libgcc_s.so.1, which is missing"),
        "{error}"
    );
    assert!(
        error.contains("the binary needs version GLIBC_2.34 of libc.so.6"),
        "{error}"
    );
}

#[test]
fn a_file_that_a_package_lacks_is_named_with_the_pin_file() {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    let control = "Package: tiny\nVersion: 1\nArchitecture: amd64\nMaintainer: t\nDescription: t\n";
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    let deb = folder.path().join("tiny.deb");
    let packed = Command::new("dpkg-deb")
        .arg("--build")
        .args([&tree, &deb])
        .output()
        .unwrap();
    assert!(
        packed.status.success(),
        "{}",
        String::from_utf8_lossy(&packed.stderr)
    );
    let sha256 = cache::sha256_file(&deb).unwrap();
    fs::rename(&deb, folder.path().join(format!("{sha256}.deb"))).unwrap();

    let pins = folder.path().join("pins.yaml");
    let text = format!(
        "architecture: amd64\npackages:\n  - name: tiny\n    version: '1'\n    sha256: {sha256}\n    files: [lib/none]\n"
    );
    fs::write(&pins, text).unwrap();
    let error = debian::base(&pins, folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("lib/none") && error.contains("pins.yaml"),
        "{error}"
    );
}

proptest! {
    #[test]
    fn checking_arbitrary_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0];
        elf.extend(&bytes);
        for input in [bytes, elf] {
            // Either outcome is fine.
            drop(elf::check_closure(&input, Architecture::Arm64, &Layer::default()));
        }
    }
}
