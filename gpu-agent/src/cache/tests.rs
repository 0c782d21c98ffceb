use std::{os::unix::fs::symlink, time::Duration};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::{
    part::{Part, Validator},
    *,
};

/// More than any test writes.
const ROOMY: u64 = 1 << 30;
/// Long enough ago that nobody is about to use a copy.
const LONG_AGO: Duration = Duration::from_hours(2);

fn sha256(content: &[u8]) -> [u8; 32] {
    Sha256::digest(content).into()
}

/// A folder of this user's, as the cache of a node is root's.
fn cache() -> (TempDir, Cache) {
    let folder = tempfile::tempdir().unwrap();
    let owner = fs::metadata(folder.path()).unwrap().uid();
    let cache = Cache::open(folder.path(), owner).unwrap();
    (folder, cache)
}

fn publish(cache: &Cache, content: &[u8]) -> [u8; 32] {
    let digest = sha256(content);
    let mut part = Part::open(cache, digest, cache.lock(&digest).unwrap()).unwrap();
    part.write(content).unwrap();
    part.publish().unwrap();
    digest
}

fn age(cache: &Cache, digest: &[u8; 32], age: Duration) {
    cache.touch(digest, SystemTime::now() - age).unwrap();
}

#[test]
fn a_copy_is_found_once_it_was_published_and_read_by_all() {
    let (_folder, cache) = cache();
    let digest = sha256(b"model");
    assert_eq!(cache.find(&digest).unwrap(), None);
    assert_eq!(publish(&cache, b"model"), digest);
    let path = cache.find(&digest).unwrap().expect("a copy");
    assert_eq!(fs::read(&path).unwrap(), b"model");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
    assert!(!cache.file(&digest, "part").exists() && !cache.file(&digest, "state").exists());
}

#[test]
fn a_copy_that_somebody_touched_is_none_until_it_was_verified_again() {
    let (_folder, cache) = cache();
    let digest = publish(&cache, b"model");
    let path = cache.copy(&digest);
    // The same length and, by a program that hides its traces, the same time of writing.
    let written = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, b"mODEL").unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(written)
        .unwrap();
    assert_eq!(cache.find(&digest).unwrap(), None);
    assert!(!cache.verify(&digest).unwrap(), "it has another digest");
    assert!(!path.exists(), "and is gone");

    let digest = publish(&cache, b"model");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(cache.find(&digest).unwrap(), None, "something has changed");
    assert!(cache.verify(&digest).unwrap());
    assert!(cache.find(&digest).unwrap().is_some());
}

#[test]
fn what_somebody_else_could_have_planted_is_not_believed() {
    let (folder, cache) = cache();
    let digest = publish(&cache, b"model");
    let path = cache.copy(&digest);
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    // Neither found nor followed: a link is an error of opening.
    assert!(!matches!(cache.find(&digest), Ok(Some(_))));
    fs::remove_file(&path).unwrap();
    fs::hard_link(&elsewhere, &path).unwrap();
    assert_eq!(cache.find(&digest).unwrap(), None, "another name of another file");
    fs::remove_file(&path).unwrap();
    fs::rename(&elsewhere, &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(cache.find(&digest).unwrap(), None, "others may write it");

    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = Cache::open(folder.path(), cache.owner).expect_err("others may write the folder");
    assert!(
        matches!(error, CacheError::Foreign { kind: "folder", .. }),
        "{error}"
    );
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(
        Cache::open(folder.path(), cache.owner + 1).is_err(),
        "another user's"
    );
    assert!(Cache::open(&folder.path().join("none"), cache.owner).is_err());
}

#[test]
fn the_copies_that_were_not_used_for_longest_make_room() {
    let (_folder, cache) = cache();
    let digests = [b"aaaaaaaaaa", b"bbbbbbbbbb", b"cccccccccc"].map(|content| publish(&cache, content));
    age(&cache, &digests[0], LONG_AGO);
    age(&cache, &digests[1], LONG_AGO * 3);
    age(&cache, &digests[2], LONG_AGO * 2);
    let wanted = sha256(b"dddddddddd");
    cache.make_room(&wanted, 10, 10, 40).unwrap();
    assert_eq!(
        digests.map(|digest| cache.find(&digest).unwrap().is_some()),
        [true; 3]
    );
    cache.make_room(&wanted, 10, 10, 25).unwrap();
    assert_eq!(
        digests.map(|digest| cache.find(&digest).unwrap().is_some()),
        [true, false, false]
    );
}

#[test]
fn a_copy_that_is_held_or_about_to_be_is_not_evicted() {
    let (_folder, cache) = cache();
    let (held, young, part) = (
        publish(&cache, b"held......"),
        publish(&cache, b"young....."),
        sha256(b"part"),
    );
    age(&cache, &held, LONG_AGO);
    let file = File::open(cache.copy(&held)).unwrap();
    file.lock_shared().unwrap();
    let mut running = Part::open(&cache, part, cache.lock(&part).unwrap()).unwrap();
    running.write(b"pa").unwrap();
    running
        .keep(&Validator {
            total: Some(4),
            ..Validator::default()
        })
        .unwrap();
    let error = cache
        .make_room(&sha256(b"w"), 1, 1, 24)
        .expect_err("nothing can go");
    let CacheError::NoRoom {
        wanted,
        held: sum,
        limit,
    } = error
    else {
        panic!("{error}");
    };
    // The whole of what is being downloaded counts, and not only what has come.
    assert_eq!((wanted, sum, limit), (1, 24, 24));
    drop((file, running));
    age(&cache, &young, LONG_AGO);
    cache.make_room(&sha256(b"w"), 1, 1, 1).unwrap();
    assert_eq!(cache.find(&held).unwrap(), None);
    assert!(!cache.file(&part, "part").exists());
}

#[test]
fn what_can_never_fit_evicts_nothing() {
    let (_folder, cache) = cache();
    let digest = publish(&cache, b"model");
    age(&cache, &digest, LONG_AGO);
    let wanted = sha256(b"w");
    assert!(matches!(
        cache.make_room(&wanted, u64::MAX, u64::MAX, ROOMY),
        Err(CacheError::NoRoom { .. })
    ));
    let disk = cache.make_room(&wanted, u64::MAX - 9, u64::MAX - 9, u64::MAX);
    assert!(matches!(disk, Err(CacheError::DiskFull { .. })), "{disk:?}");
    assert!(cache.find(&digest).unwrap().is_some());
}

#[test]
fn a_part_goes_on_where_it_stopped() {
    let (_folder, cache) = cache();
    let digest = sha256(b"model");
    let mut part = Part::open(&cache, digest, cache.lock(&digest).unwrap()).unwrap();
    part.write(b"mod").unwrap();
    let validator = Validator {
        address: "a".into(),
        name: Some("\"1\"".into()),
        total: Some(5),
    };
    part.keep(&validator).unwrap();
    drop(part);
    let mut part = Part::open(&cache, digest, cache.lock(&digest).unwrap()).unwrap();
    assert_eq!((part.length(), part.validator().unwrap()), (3, Some(validator)));
    part.write(b"el").unwrap();
    assert_eq!(part.digest(), digest);
    part.publish().unwrap();
    assert!(cache.find(&digest).unwrap().is_some());
}

proptest::proptest! {
    #[test]
    fn whatever_a_note_holds_is_read_without_a_panic(bytes: Vec<u8>) {
        let _ = Marker::parse(&bytes);
        let _ = Validator::parse(&bytes);
        let (_folder, cache) = cache();
        let digest = publish(&cache, b"model");
        cache.write_note(&cache.marker(&digest), &bytes).unwrap();
        let found = cache.find(&digest).unwrap();
        proptest::prop_assert!(found.is_none(), "no other bytes vouch for it");
    }
}
