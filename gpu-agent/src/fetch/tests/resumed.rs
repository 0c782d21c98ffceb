//! Downloads that were broken off, and what is worth of what had come.

use super::*;

#[tokio::test]
async fn a_download_that_breaks_in_the_middle_goes_on_where_it_broke() {
    let (_folder, cache) = folder();
    let content = content();
    let digest = sha256(&content);
    let body = content.clone();
    let server = Server::start(move |number, head| {
        let reply = serve(&body, "\"1\"", head);
        if number < 2 { reply.cut_to(400_000) } else { reply }
    })
    .await;
    fetched(&server, &cache, digest).await.unwrap();
    assert!(cache.find(&digest).unwrap().is_some());
    let heads = server.heads();
    assert_eq!(heads.len(), 3);
    assert!(!heads[0].contains("range:"), "{}", heads[0]);
    for head in &heads[1..] {
        assert!(
            head.contains("range: bytes=") && head.contains("if-range: \"1\""),
            "{head}"
        );
    }
}

#[tokio::test]
async fn a_download_of_a_process_that_died_is_taken_up() {
    let (_folder, cache) = folder();
    let content = content();
    let digest = sha256(&content);
    let body = content.clone();
    let server = Server::start(move |number, head| {
        let reply = serve(&body, "\"1\"", head);
        if number == 0 {
            reply.cut_to(500_000).and_hang()
        } else {
            reply
        }
    })
    .await;
    let progress = Progress::default();
    {
        let order = order(&server, digest);
        let patience = patience();
        let download = onto_node(&order, &cache, &patience, &progress);
        tokio::pin!(download);
        // It dies in the middle.
        loop {
            tokio::select! {
                done = &mut download => panic!("{done:?}"),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
            if progress.now().bytes > 400_000 {
                break;
            }
        }
        assert_eq!(progress.now().total, Some(content.len() as u64));
        assert_eq!(progress.now().stage, FetchStage::Downloading);
    }
    fetched(&server, &cache, digest).await.unwrap();
    assert!(cache.find(&digest).unwrap().is_some());
    assert!(
        server.heads()[1].contains("range: bytes="),
        "{:?}",
        server.heads()
    );
}

#[tokio::test]
async fn a_download_that_had_come_whole_when_it_was_stopped_asks_for_nothing() {
    let (_folder, cache) = folder();
    let content = content();
    let digest = sha256(&content);
    let mut part = Part::open(&cache, digest, cache.lock(&digest).unwrap()).unwrap();
    part.write(&content).unwrap();
    drop(part);
    let server = Server::start(move |_, head| serve(&content, "\"1\"", head)).await;
    fetched(&server, &cache, digest).await.unwrap();
    assert!(cache.find(&digest).unwrap().is_some());
    assert_eq!(server.heads(), [""; 0]);
}

#[tokio::test]
async fn another_file_at_the_address_begins_again() {
    let (_folder, cache) = folder();
    let (old, new) = (vec![7; 900_000], content());
    let digest = sha256(&new);
    let server = Server::start(move |number, head| {
        if number == 0 {
            serve(&old, "\"old\"", head).cut_to(400_000)
        } else {
            serve(&new, "\"new\"", head)
        }
    })
    .await;
    fetched(&server, &cache, digest).await.unwrap();
    assert!(cache.find(&digest).unwrap().is_some());
    assert_eq!(
        server.heads().len(),
        2,
        "a tag that is another's brings the whole file"
    );
}

#[tokio::test]
async fn parts_of_two_files_are_thrown_away_and_the_file_is_asked_for_once_more() {
    let (_folder, cache) = folder();
    let content = content();
    let digest = sha256(&content);
    // What an earlier process left behind, of a server that names nothing.
    let mut part = Part::open(&cache, digest, cache.lock(&digest).unwrap()).unwrap();
    part.write(&[1; 1000]).unwrap();
    drop(part);
    let body = content.clone();
    let server = Server::start(move |_, head| serve(&body, "\"1\"", head)).await;
    fetched(&server, &cache, digest).await.unwrap();
    assert!(cache.find(&digest).unwrap().is_some());
    let heads = server.heads();
    assert_eq!(heads.len(), 2);
    assert!(
        heads[0].contains("range: bytes=1000-") && !heads[1].contains("range:"),
        "{heads:?}"
    );
}
